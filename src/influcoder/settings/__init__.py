"""One tree of settings: environment, then a TOML file, then defaults."""
