"""Where servers are."""

from pydantic import SecretStr

from influcoder.settings.section import Section


class StoreSettings(Section):
    """The S3 bucket that holds label sets, features, checks and decisions.

    Credentials are boto3's own (environment, profile, instance role); only the local stack sets them here.
    """

    bucket: str = "influcoder"
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None


class MlflowSettings(Section):
    """Where runs and encoder versions are kept."""

    tracking_uri: str = "http://127.0.0.1:5000"
    experiment: str = "influcoder"
    model: str = "influcoder-encoder"
