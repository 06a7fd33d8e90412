"""deploy/kubernetes: valid by the schemas of Kubernetes, restricted, and the lab's own commands.

KEDA's objects have no schema there: of them only what they point at is looked at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.contracts.jobs import Queue
from app.run.supervisor import web_command, worker_command
from app.services.lab import Lab
from app.services.monitoring import exposition
from app.settings import Settings
from tests.plugins.lab_process import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30", "1.37"
"""`preStop.sleep` is of 1.30."""
Object = dict[str, Any]


def objects(folder: str) -> list[Object]:
    """What a kustomization's own files say."""
    listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
    files = sorted(path.name for path in (FOLDER / folder).glob("*.yaml"))
    assert sorted([*filter(lambda name: "/" not in name, listed), "kustomization.yaml"]) == files
    found = []
    for name in files:
        for document in yaml.safe_load_all((FOLDER / folder / name).read_text()):
            found += document["items"] if document["kind"] == "List" else [document]
    return [each for each in found if each["kind"] != "Kustomization"]


LAB = objects("lab")
DEPLOYMENTS = {each["metadata"]["name"]: each for each in LAB if each["kind"] == "Deployment"}


def of_kind(kind: str) -> list[Object]:
    return [each for each in LAB if each["kind"] == kind]


def pod(name: str) -> Object:
    found: Object = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("each", LAB, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_it_is_valid(each: Object, version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_word_is_not_valid() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(DEPLOYMENTS["lab-web"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessprobe"):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_pods_are_restricted(name: str) -> None:
    """As the pod security standard of that name has it, and a little more."""
    spec = pod(name)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= {"emptyDir", "secret", "projected"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(container["resources"]["limits"])
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


def test_the_commands_are_those_of_the_supervisor() -> None:
    everywhere = Settings(port=8000, host="0.0.0.0")
    (web,) = pod("lab-web")["containers"]
    assert web["command"] == ["python", *web_command(everywhere)]
    assert set(DEPLOYMENTS) - {"lab-web"} == {
        *(f"lab-{queue}" for queue in Queue),
        "lab-train-gpu",
        "lab-evaluate-gpu",
    }
    for name in set(DEPLOYMENTS) - {"lab-web"}:
        queue = Queue(name.split("-")[1])
        (worker,) = pod(name)["containers"]
        assert worker["command"] == ["python", *worker_command(queue)]
        ready = ["python", "-m", "app.queue", queue.value]
        assert worker["readinessProbe"]["exec"]["command"] == ready
        assert "livenessProbe" not in worker, "a broker that is away ends no training"
        assert pod(name)["terminationGracePeriodSeconds"] > 30
        limits = worker["resources"]["limits"]
        assert ("nvidia.com/gpu" in limits) is name.endswith("-gpu")


def test_gpus_that_train_together_have_shared_memory() -> None:
    """NCCL's: a container has 64 MiB of it otherwise."""
    spec = pod("lab-train-gpu")
    (container,) = spec["containers"]
    (name,) = (m["name"] for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm")
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == name)
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_labels_lead_to_the_pods() -> None:
    """Of deployments, services, budgets and network policies."""
    templates = {
        name: each["spec"]["template"]["metadata"]["labels"] for name, each in DEPLOYMENTS.items()
    }
    for name, labels in templates.items():
        assert DEPLOYMENTS[name]["spec"]["selector"]["matchLabels"] == labels
        assert [other for other, theirs in templates.items() if theirs == labels] == [name]
    (service,) = of_kind("Service")
    assert service["spec"]["selector"] == templates["lab-web"]
    (ingress,) = of_kind("Ingress")
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    for each in (*of_kind("PodDisruptionBudget"), *of_kind("NetworkPolicy")):
        chosen = each["spec"].get("selector") or each["spec"]["podSelector"]
        assert any(chosen["matchLabels"].items() <= labels.items() for labels in templates.values())


def test_nobody_but_the_ingress_and_prometheus_gets_in() -> None:
    everyone, web = of_kind("NetworkPolicy")
    assert everyone["spec"]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "agkd-bml-lab"
    }
    assert everyone["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everyone["spec"]
    (rule,) = web["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]


def test_its_settings_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets as a volume has them: links to a folder that is exchanged as a whole."""
    (config,) = of_kind("ConfigMap")
    known = {f"LAB_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in config["data"] if name.startswith("LAB_")} <= known
    for name, value in config["data"].items():
        monkeypatch.setenv(name, value)
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "lab_redis_url").write_text("rediss://:secret@redis.example.org/0")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "lab_redis_url").symlink_to("..data/lab_redis_url")
    monkeypatch.setenv("LAB_SECRETS_DIR", str(tmp_path))
    settings = Settings(host="0.0.0.0")
    assert settings.redis_url == "rediss://:secret@redis.example.org/0"
    assert settings.allowed_hosts == ("lab.example.org",)
    mounts = {
        mount["mountPath"]
        for each in DEPLOYMENTS
        for container in pod(each)["containers"]
        for mount in container["volumeMounts"]
    }
    told = {config["data"][f"LAB_{name}_DIR"] for name in ("DATA", "SECRETS")}
    assert mounts == {"/tmp", "/dev/shm", *told}


def test_a_scaler_scales_what_is_there(lab: Lab) -> None:
    scaled = objects("scaled")
    named = {each["spec"]["scaleTargetRef"]["name"] for each in scaled}
    assert named < set(DEPLOYMENTS)
    kustomization = yaml.safe_load((FOLDER / "scaled" / "kustomization.yaml").read_text())
    (patch,) = kustomization["patches"]
    alternatives = "|".join(sorted(name.removeprefix("lab-") for name in named))
    assert patch["target"]["name"] == f"lab-({alternatives})"
    told = exposition(lab).decode()
    queries = [
        trigger["metadata"]["query"] for each in scaled for trigger in each["spec"]["triggers"]
    ]
    for query in queries:
        found = re.fullmatch(r"max\((\w+)\{(.+)\}\)", query)
        assert found is not None
        figure, labels = found.groups()
        assert any(
            line.startswith(f"{figure}{{") and all(label in line for label in labels.split(", "))
            for line in told.splitlines()
        ), f"/metrics has {query}"
