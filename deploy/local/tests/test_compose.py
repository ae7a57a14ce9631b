"""docker-compose.yml and deploy/Dockerfile describe the system that the local stack runs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from local_stack import artifacts, environment, external, layout

HERE = artifacts.REPOSITORY
# What the local stack's services take from the shell, and containers from their image.
FROM_THE_SHELL = set(environment._INHERITED)


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((HERE / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def stack_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("compose")
    return environment.of_stack(folder, layout.load_or_make(folder), external.read({}), Path("/pg/bin"))


def test_it_names_the_same_parts(compose: dict[str, Any]) -> None:
    """Given the compose file. When its parts are listed. Then they are the local stack's, and what sets them up."""
    migrations = {f"{service}-migrate" for service in layout.SERVICES}
    assert set(compose["services"]) == {*layout.PARTS, *migrations, "setup", "s3-folders"}


@pytest.mark.parametrize("service", layout.SERVICES)
def test_a_service_gets_the_same_environment(
    compose: dict[str, Any], stack_values: dict[str, str], service: str
) -> None:
    """Given a service. When its containers' environment is read. Then it has the local process's variables."""
    local = environment.of_service(stack_values, service)
    for name in (service, f"{service}-migrate"):
        container = compose["services"][name]["environment"]
        assert set(container) == set(local) - FROM_THE_SHELL
        for same in ("FARTHING_ENV", "JWT_ISSUER", "JWT_AUDIENCE", "S3_BUCKET", "S3_REGION"):
            assert container[same] == local[same]
        for url in ("DATABASE_URL", "OWNER_DATABASE_URL"):
            password_free = r"//(\w+):[^@]*@[^/]+(/\w+)"
            assert re.search(password_free, container[url]).groups() == re.search(password_free, local[url]).groups()


@pytest.mark.parametrize("service", layout.SERVICES)
def test_a_service_is_built_migrated_and_watched(compose: dict[str, Any], service: str) -> None:
    """Given a service. When its entry is read. Then it is built by name, starts after its migration, has health."""
    entry = compose["services"][service]
    assert entry["build"]["args"] == {"SERVICE": service}
    assert (HERE / entry["build"]["dockerfile"]).exists()
    assert entry["depends_on"][f"{service}-migrate"] == {"condition": "service_completed_successfully"}
    assert entry["healthcheck"]["test"]
    ports = [mapping.rpartition(":")[2] for mapping in entry["ports"]]
    binds = entry["environment"]
    assert ports == [binds["GRPC_BIND"].rpartition(":")[2], binds["METRICS_BIND"].rpartition(":")[2]]


def test_sellers_secrets_are_wallets_alone(compose: dict[str, Any]) -> None:
    """Given every part. When its mounts are read. Then the secrets are wallet's, where it looks, only to be read."""
    mounts = {name: part.get("volumes", []) for name, part in compose["services"].items()}
    secrets = {name: mount for name, found in mounts.items() for mount in found if mount.startswith("./secrets:")}
    told = compose["services"]["wallet"]["environment"]["SECRETS_DIR"]
    assert secrets == {"wallet": f"./secrets:{told}:ro"}
    assert set(compose["services"]["orders"]["volumes"]) < set(mounts["wallet"])


def test_addresses_lead_to_listening_parts(compose: dict[str, Any]) -> None:
    """Given what services are told. When each host is looked up. Then it is a part that maps that port."""
    told = compose["services"]["orders"]["environment"]
    assert told["KAFKA_BOOTSTRAP"] in compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    for part, address in (("s3", told["S3_ENDPOINT"]), ("smtp", f"{told['SMTP_HOST']}:{told['SMTP_PORT']}")):
        host, _, port = address.removeprefix("http://").partition(":")
        assert host == part
        assert any(mapping.endswith(f":{port}") for mapping in compose["services"][part]["ports"])
    host, _, port = told["WALLET_TARGET"].partition(":")
    wallet = compose["services"]["wallet"]
    assert host in wallet["networks"]["farthing"]["aliases"]
    assert wallet["environment"]["INTERNAL_GRPC_BIND"].endswith(f":{port}")


def test_published_ports_differ_and_stay_on_this_machine(compose: dict[str, Any]) -> None:
    """Given all published ports. When they are compared. Then each is there once, on 127.0.0.1 only."""
    published = [mapping for part in compose["services"].values() for mapping in part.get("ports", [])]
    assert all(mapping.startswith("127.0.0.1:") for mapping in published)
    assert len({mapping.split(":")[1] for mapping in published}) == len(published)


def test_images_run_unprivileged_from_pinned_packages() -> None:
    """Given the Dockerfile. When it is read. Then hashes are required and no image ends as root."""
    text = (HERE / "deploy" / "Dockerfile").read_text()
    assert "--require-hashes" in text
    stages = re.split(r"^FROM .* AS ", text, flags=re.MULTILINE)[1:]
    for stage in stages:
        if stage.split()[0] in ("setup", "service"):
            assert "USER farthing" in stage
