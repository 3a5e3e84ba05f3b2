import pytest

from influcoder.core.errors import SettingsError
from influcoder.settings.tree import Settings, load_settings

DEFAULTS = Settings.model_construct()


@pytest.fixture(autouse=True)
def no_settings(tmp_path, monkeypatch):
    """A working directory without a file, and an environment without our variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("SETTINGS", "CORPUS", "DECODER", "DRIFT__MARGIN", "STORE__BUCKET"):
        monkeypatch.delenv(f"INFLUCODER_{name}", raising=False)


@pytest.fixture
def write(tmp_path, monkeypatch):
    def write(text, name="settings.toml"):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv("INFLUCODER_SETTINGS", str(tmp_path / name))

    return write


def refused(**overrides):
    with pytest.raises(SettingsError) as caught:
        load_settings(**overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_hold_where_nothing_is_said():
    settings = load_settings()
    assert settings.corpus == DEFAULTS.corpus
    assert settings.drift == DEFAULTS.drift


def test_file_overrides_defaults(write):
    write('corpus = "docs:json"\n[drift]\nmargin = 0.1\n')
    settings = load_settings()
    assert (settings.corpus, settings.drift.margin) == ("docs:json", 0.1)
    assert settings.drift.min_queries == DEFAULTS.drift.min_queries


@pytest.mark.parametrize("line", ["depths = [0.2]", "precision = 'int8'"])
def test_a_setting_that_was_removed_is_named(write, line):
    write(f"[encoder]\n{line}\n")
    assert f"{line.split()[0]} was removed" in refused()


def test_environment_overrides_the_file(write, monkeypatch):
    write('corpus = "docs:json"\n[drift]\nmargin = 0.1\nmin_queries = 20\n')
    monkeypatch.setenv("INFLUCODER_CORPUS", "docs:textwrap")
    monkeypatch.setenv("INFLUCODER_DRIFT__MARGIN", "0.2")
    settings = load_settings()
    assert (settings.corpus, settings.drift.margin, settings.drift.min_queries) == ("docs:textwrap", 0.2, 20)


def test_arguments_override_the_environment(monkeypatch):
    monkeypatch.setenv("INFLUCODER_CORPUS", "docs:textwrap")
    assert load_settings(corpus="docs:json").corpus == "docs:json"


def test_empty_variable_says_nothing(monkeypatch):
    monkeypatch.setenv("INFLUCODER_CORPUS", "")
    assert load_settings().corpus == DEFAULTS.corpus


def test_file_in_the_working_directory_is_found(tmp_path):
    (tmp_path / "influcoder.toml").write_text('corpus = "docs:json"\n')
    assert load_settings().corpus == "docs:json"


def test_file_is_read_at_each_call(write):
    write('corpus = "docs:json"\n')
    load_settings()
    write('corpus = "docs:textwrap"\n')
    assert load_settings().corpus == "docs:textwrap"


@pytest.mark.parametrize("text", ["corpse = 1\n", "[drift]\ncorpse = 1\n", "[labels.budget]\ncorpse = 1\n"])
def test_unknown_key_is_named(write, text):
    write(text)
    assert "corpse" in refused()


def test_unknown_variable_of_a_section_is_named(monkeypatch):
    monkeypatch.setenv("INFLUCODER_STORE__BUKET", "mine")
    assert "store.buket" in refused()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[drift]\nmargin = 0\n", "drift.margin"),
        ('[teacher]\nrank = "many"\n', "teacher.rank"),
        ("[labels.spot]\nqueries = 1\ncandidates = 9\n", "labels.spot.queries"),
        ("corpus = 7\n", "corpus"),
    ],
)
def test_wrong_value_is_named_with_the_file(write, text, place):
    write(text)
    message = refused()
    assert f"settings: {place}: " in message
    assert "settings.toml" in message


def test_every_problem_is_named_at_once(write):
    write("[drift]\nmargin = 2\nmin_queries = 0\n")
    assert "drift.margin" in (message := refused())
    assert "drift.min_queries" in message


@pytest.mark.parametrize("text", ["corpus = \n", "[drift\n", "corpus = 1\ncorpus = 2\n"])
def test_broken_file_is_named(write, text):
    write(text)
    assert "settings.toml can't be read" in refused()


def test_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("INFLUCODER_SETTINGS", str(tmp_path / "none.toml"))
    assert "none.toml is not there" in refused()


def test_secrets_do_not_show(monkeypatch):
    monkeypatch.setenv("INFLUCODER_STORE__SECRET_KEY", "hush-hush")
    settings = load_settings()
    assert settings.store.secret_key.get_secret_value() == "hush-hush"
    assert "hush-hush" not in repr(settings) + settings.model_dump_json()


def test_settings_do_not_change_once_loaded():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().drift.margin = 0.5
