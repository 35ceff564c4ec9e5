"""docker/host.sh: what it finds out about a machine."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SHIPPED = Path("/usr/share/ca-certificates")
OTHER_CA = "-----BEGIN CERTIFICATE-----\nTm90IGEgcmVhbCBvbmU=\n-----END CERTIFICATE-----\n"


def host(expression: str, cwd: Path = ROOT, **env: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HEARTH_", "COMPOSE_", "PIP_"))}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". docker/host.sh; {expression}"],
        cwd=cwd, env=clean | env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def shipped_bundle(tmp_path: Path) -> Path:
    bundle = tmp_path / "bundle.crt"
    bundle.write_text("".join(p.read_text() for p in sorted(SHIPPED.rglob("*.crt"))))
    assert "BEGIN CERTIFICATE" in bundle.read_text()
    return bundle


def test_the_distributions_own_bundle_is_not_handed_over(shipped_bundle: Path) -> None:
    assert host("echo $HEARTH_CA", SSL_CERT_FILE=str(shipped_bundle)) == "/dev/null"


def test_a_bundle_with_another_ca_is(shipped_bundle: Path) -> None:
    shipped_bundle.write_text(shipped_bundle.read_text() + OTHER_CA)
    assert host("echo $HEARTH_CA", SSL_CERT_FILE=str(shipped_bundle)) == str(shipped_bundle)


def test_what_the_user_says_wins(shipped_bundle: Path) -> None:
    assert host("echo $HEARTH_CA", HEARTH_CA="/my/ca.pem", SSL_CERT_FILE=str(shipped_bundle)) == "/my/ca.pem"
    assert host("echo $COMPOSE_PROFILES", COMPOSE_PROFILES="gpu") == "gpu"


def test_local_wheels_count_only_with_torch_among_them(tmp_path: Path) -> None:
    assert host("echo $HEARTH_WHEELS", PIP_FIND_LINKS=str(tmp_path)) == "docker/wheels"
    (tmp_path / "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl").touch()
    assert host("echo $HEARTH_WHEELS", PIP_FIND_LINKS=f"/nowhere {tmp_path}") == str(tmp_path)


def test_without_a_driver_the_profile_is_cpu(tmp_path: Path) -> None:
    """PATH without nvidia-smi is this machine's; with one that answers but no toolkit, the GPU is not usable either."""
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GeForce RTX 3060'\n")
    fake.chmod(0o755)
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\ncase "$*" in *Runtimes*) echo "$FAKE_RUNTIMES";; esac\n')
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert host("echo $COMPOSE_PROFILES", PATH=path, FAKE_RUNTIMES='{"runc": {}}') == "cpu"
    assert host("echo $COMPOSE_PROFILES", PATH=path, FAKE_RUNTIMES='{"runc": {}, "nvidia": {}}') == "gpu"


@pytest.mark.parametrize(
    ("profiles", "recipe"), [("cpu", "tiny"), ("cpu,tools", "tiny"), ("gpu,tools", "qwen3-4b-instruct-2507")]
)
def test_the_tool_servers_are_beside_either_profile(profiles: str, recipe: str) -> None:
    assert host("echo $recipe", COMPOSE_PROFILES=profiles) == recipe


def test_env_file_counts_where_the_environment_is_silent(tmp_path: Path) -> None:
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    (tmp_path / ".env").write_text("COMPOSE_PROFILES=gpu\nHEARTH_BIND=127.0.0.1:9\nHEARTH_RECIPE=other\n")
    printed = host("echo $bind $HEARTH_RECIPE $recipe $COMPOSE_PROFILES", cwd=tmp_path, HEARTH_BIND="10.0.0.1:80")
    assert printed == "10.0.0.1:80 other other cpu"


def test_another_back_end_has_weights_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    (tmp_path / ".env").touch()
    for made in ("weights/tiny", "weights/tiny-auto-gptq"):
        (tmp_path / made).mkdir(parents=True)
        (tmp_path / made / "hearth.json").touch()
    tiny = {"HEARTH_RECIPE": "tiny", "COMPOSE_PROFILES": "cpu"}
    assert host("echo $HEARTH_WEIGHTS", cwd=tmp_path, **tiny) == "weights/tiny"
    assert host("echo $HEARTH_WEIGHTS", cwd=tmp_path, HEARTH_BACKEND="auto-gptq", **tiny) == "weights/tiny-auto-gptq"
    assert host("echo [$HEARTH_WEIGHTS]", cwd=tmp_path, HEARTH_BACKEND="gptqmodel", **tiny) == "[]"


def test_an_unknown_back_end_is_refused() -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        host("true", HEARTH_BACKEND="awq")
    assert error.value.stderr == "error: HEARTH_BACKEND=awq: unknown back end; allowed: gptqmodel, auto-gptq\n"


def test_the_gateway_asks_for_no_more_than_the_engine_computes_at_once() -> None:
    asked = "echo ${HEARTH_MAX_IN_FLIGHT:-}"
    assert host(asked, COMPOSE_PROFILES="cpu,tools") == "16"
    assert host(asked, COMPOSE_PROFILES="cpu", HEARTH_MAX_NUM_SEQS="4") == "4"
    assert host(asked, COMPOSE_PROFILES="cpu", HEARTH_MAX_NUM_SEQS="4", HEARTH_MAX_IN_FLIGHT="8") == "8"
    assert host(asked, COMPOSE_PROFILES="gpu") == ""


@pytest.fixture
def chosen(tmp_path: Path) -> Path:
    """A checkout where `make use MODEL=tiny-auto-gptq` was called."""
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    (tmp_path / ".env").touch()
    (tmp_path / "compose.override.yaml").write_text(
        "# model: tiny-auto-gptq\n# before: tiny\nservices:\n  engine-cpu:\n    image: x\n"
    )
    return tmp_path


def test_the_chosen_model_is_built_and_served(chosen: Path) -> None:
    what = "echo $recipe $HEARTH_BACKEND $(chosen before)"
    assert host(what, cwd=chosen, COMPOSE_PROFILES="cpu") == "tiny auto-gptq tiny"
    same = {"HEARTH_RECIPE": "tiny", "HEARTH_BACKEND": "auto-gptq"}
    assert host(what, cwd=chosen, COMPOSE_PROFILES="cpu", **same) == "tiny auto-gptq tiny"
    listed = "compose.yaml:compose.override.yaml"
    assert host(what, cwd=chosen, COMPOSE_PROFILES="cpu", COMPOSE_FILE=listed) == "tiny auto-gptq tiny"


def test_a_choice_for_the_other_profile_or_that_compose_does_not_read_counts_for_nothing(chosen: Path) -> None:
    what = "echo $recipe [$HEARTH_BACKEND] [$(chosen before)]"
    assert host(what, cwd=chosen, COMPOSE_PROFILES="gpu") == "qwen3-4b-instruct-2507 [] []"
    assert host(what, cwd=chosen, COMPOSE_PROFILES="cpu", COMPOSE_FILE="compose.yaml") == "tiny [] []"


def test_a_recipe_in_the_environment_that_is_not_the_chosen_one_is_refused(chosen: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as error:
        host("true", cwd=chosen, COMPOSE_PROFILES="cpu", HEARTH_RECIPE="other")
    assert "compose.override.yaml says tiny-auto-gptq" in error.value.stderr
    assert "make use MODEL=other" in error.value.stderr


def test_the_parts_of_a_models_name(tmp_path: Path) -> None:
    assert host("parts_of tiny; parts_of tiny-auto-gptq; parts_of a-gptqmodel").splitlines() == [
        "tiny", "tiny auto-gptq", "a gptqmodel",
    ]  # fmt: skip
    (tmp_path / "docker").symlink_to(ROOT / "docker")
    (tmp_path / ".env").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models/my-auto-gptq.yaml").touch()
    assert host("parts_of my-auto-gptq", cwd=tmp_path) == "my-auto-gptq"


class TestTheFolderForKeysAndCertificate:
    shown = "echo $HEARTH_SECRETS ${HEARTH_API_KEYS_FILE:-} ${HEARTH_TLS_CERTIFICATE_FILE:-} ${HEARTH_TLS_KEY_FILE:-}"

    def refused(self, **env: str) -> str:
        with pytest.raises(subprocess.CalledProcessError) as error:
            host("true", **env)
        return str(error.value.stderr)

    def test_it_is_the_repositorys_unless_something_else_is_said(self, tmp_path: Path) -> None:
        assert host(self.shown) == "./secrets"
        assert host(self.shown, HEARTH_SECRETS=str(tmp_path), HEARTH_API_KEYS_FILE="k") == f"{tmp_path} k"

    def test_git_leaves_alone_what_is_put_there(self) -> None:
        ignored = subprocess.run(["git", "check-ignore", "secrets/api_keys", "secrets/tls.key"], cwd=ROOT)
        assert ignored.returncode == 0

    def test_a_path_to_a_file_says_folder_and_name(self, tmp_path: Path) -> None:
        paths = {
            "HEARTH_API_KEYS_FILE": f"{tmp_path}/keys", "HEARTH_TLS_CERTIFICATE_FILE": f"{tmp_path}/crt",
            "HEARTH_TLS_KEY_FILE": "key",
        }  # fmt: skip
        assert host(self.shown, **paths) == f"{tmp_path} keys crt key"
        assert host(self.shown, **paths, HEARTH_SECRETS=f"{tmp_path}/") == f"{tmp_path}/ keys crt key"
        assert host(self.shown, HEARTH_API_KEYS_FILE="secrets/api_keys") == "secrets api_keys"

    def test_files_in_two_folders_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        for first in ({"HEARTH_API_KEYS_FILE": f"{tmp_path}/a/keys"}, {"HEARTH_SECRETS": f"{tmp_path}/a"}):
            complaint = self.refused(**first, HEARTH_TLS_KEY_FILE=f"{tmp_path}/b/key")
            assert complaint.startswith(f"error: HEARTH_TLS_KEY_FILE={tmp_path}/b/key: is not in {tmp_path}/a,")

    def test_a_folder_with_more_in_it_is_not_handed_over_for_a_files_sake(self, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        assert "put the file into one of its own" in self.refused(HEARTH_API_KEYS_FILE=f"{tmp_path}/keys")

    def test_a_folder_that_is_not_there_is_named(self) -> None:
        assert "there is no folder /nowhere" in self.refused(HEARTH_API_KEYS_FILE="/nowhere/keys")


def test_with_a_certificate_the_address_is_https_and_the_certificate_believed(tmp_path: Path) -> None:
    shown = "echo $url ${HEARTH_TLS_CA:-}"
    tls = {"HEARTH_SECRETS": str(tmp_path), "HEARTH_TLS_CERTIFICATE_FILE": "crt"}
    assert host(shown) == "http://127.0.0.1:8080"
    assert host(shown, **tls, HEARTH_BIND="8443") == f"https://127.0.0.1:8443 {tmp_path}/crt"
    address = {"HEARTH_URL": "https://llm.example.org", "HEARTH_TLS_CA": "/ca.pem"}
    assert host(shown, **tls, **address) == "https://llm.example.org /ca.pem"


def test_what_is_said_at_the_end_of_make_up_fits_keys_and_certificate(tmp_path: Path) -> None:
    usage = "docker/print-usage.sh https://127.0.0.1:9"
    tls = {"HEARTH_SECRETS": str(tmp_path), "HEARTH_TLS_CERTIFICATE_FILE": "crt"}
    for text in (
        'api_key="none"',
        'make keys ARGS="create NAME"',
        f"curl --cacert {tmp_path}/crt https://127.0.0.1:9/v1",
    ):
        assert text in host(usage, **tls)
    (tmp_path / "api_keys").touch()
    said = host(usage, **tls)
    assert 'api_key="KEY"' in said
    assert "-H 'authorization: Bearer KEY'" in said
    assert "make keys" not in said
