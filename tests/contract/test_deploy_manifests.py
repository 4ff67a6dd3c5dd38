"""The Kubernetes manifests: valid by Kubernetes' own schemas, and true to the code that they run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from chassis.settings import ServerSettings
from chassis.telemetry.endpoint import ALIVE, READY
from notifications_service.settings import Settings as NotificationsSettings
from users_service.settings import Settings as UsersSettings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
# The oldest that has all fields used here without a feature gate, and the newest known.
VERSIONS = ("1.34", "1.37")
SETTINGS: dict[str, type[ServerSettings]] = {"users": UsersSettings, "notifications": NotificationsSettings}
SERVICES = tuple(SETTINGS)

Resource = dict[str, Any]


def _documents(path: Path) -> list[Resource]:
    return list(yaml.load_all(path.read_text(), yaml.CSafeLoader))


def _resources(folder: Path = FOLDER) -> Iterator[Resource]:
    """Yield what `kubectl apply -k` of a folder would apply, before it puts the namespace and the image in."""
    (kustomization,) = _documents(folder / "kustomization.yaml")
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        yield from _resources(path) if path.is_dir() else _documents(path)
    for generator in kustomization.get("configMapGenerator", ()):
        yield _generated(generator, folder)


def _generated(generator: Resource, folder: Path) -> Resource:
    """Return the ConfigMap that kustomize would make, but for the hash at the end of its name."""
    lines = "\n".join((folder / name).read_text() for name in generator["envs"]).splitlines()
    data = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    options = generator["options"]
    metadata = {"name": generator["name"], "labels": options["labels"]}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": data,
        "immutable": options["immutable"],
    }


ALL = {
    (found["kind"], found["metadata"]["name"]): found
    for part in (FOLDER, FOLDER / "migrate", FOLDER / "backups")
    for found in _resources(part)
}


def _template(kind: str, name: str) -> Resource:
    spec = ALL[kind, name]["spec"]
    template: Resource = (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["template"]
    return template


def _pod(kind: str, name: str) -> Resource:
    pod: Resource = _template(kind, name)["spec"]
    return pod


PODS = [(kind, name) for kind, name in ALL if kind in ("Deployment", "Job", "CronJob")]
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("key", ALL, ids=" ".join)
def test_every_resource_is_valid(key: tuple[str, str], version: str) -> None:
    """The schemas are strict: a field that Kubernetes does not know, or at the wrong depth, fails."""
    kubernetes_validate.validate(ALL[key], version, strict=True)


def test_the_schemas_refuse_a_misspelt_field() -> None:
    """Were validation not strict, the test above could not fail."""
    service = ALL["Service", "users"]
    wrong = {**service, "spec": {**service["spec"], "clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS, ids=lambda path: path.parent.name)
def test_kustomize_may_read_what_is_named(kustomization: Path) -> None:
    """It refuses files outside the folder; folders of their own it takes from anywhere."""
    for name in _documents(kustomization)[0]["resources"]:
        path = (kustomization.parent / name).resolve()
        assert path.exists()
        assert path.is_dir() or path.is_relative_to(kustomization.parent)


def test_every_file_is_applied() -> None:
    """A manifest that no kustomization names would be forgotten in silence."""
    named = set()
    for path in KUSTOMIZATIONS:
        (kustomization,) = _documents(path)
        envs = [name for generator in kustomization.get("configMapGenerator", ()) for name in generator.get("envs", ())]
        patches = [patch["path"] for patch in kustomization.get("patches", ())]
        named |= {(path.parent / name).resolve() for name in [*kustomization["resources"], *envs, *patches]}
    assert {path for path in FOLDER.rglob("*.*") if path.suffix in (".yaml", ".env")} - set(KUSTOMIZATIONS) <= named


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_a_changed_setting_brings_new_pods(kind: str, name: str) -> None:
    """Pods read their settings once; a ConfigMap under the same name would change and nobody would read it.

    kustomize puts a hash of its content into the name of what it generates, and into the pods' template.
    """
    generators = [
        generator for path in KUSTOMIZATIONS for generator in _documents(path)[0].get("configMapGenerator", ())
    ]
    hashed = {found["name"] for found in generators if not found.get("options", {}).get("disableNameSuffixHash")}
    read = {
        source["configMapRef"]["name"]
        for container in _pod(kind, name)["containers"]
        for source in container["envFrom"]
    }
    assert read
    assert read <= hashed
    assert "generatorOptions" not in [key for path in KUSTOMIZATIONS for key in _documents(path)[0]]


@pytest.mark.parametrize("service", SERVICES)
def test_settings_are_settings(service: str) -> None:
    """A misspelt name would leave the default in force; a wrong value would stop the start."""
    given = ALL["ConfigMap", f"{service}-settings"]["data"]
    fields = {name.upper() for name in SETTINGS[service].model_fields}
    assert given.keys() - {"SECRETS_DIR"} <= fields
    secrets = {"MYSQL_PASSWORD": "p", "MONGODB_URL": "mongodb://h/d", "SECRET_KEYS": f"k:{'A' * 43}="}
    read = {name.lower(): value for name, value in {**given, **secrets}.items() if name in fields}
    assert SETTINGS[service](**read).grpc_port == int(given["GRPC_PORT"])


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_written_down(service: str) -> None:
    """Secrets come as files of a Secret, which is not among these manifests."""
    given = ALL["ConfigMap", f"{service}-settings"]["data"]
    assert not given.keys() & {"MYSQL_PASSWORD", "MONGODB_URL", "SECRET_KEYS"}
    assert not any(kind == "Secret" for kind, _ in ALL)
    mounted = {volume["name"]: volume for volume in _pod("Deployment", service)["volumes"]}
    assert mounted["secrets"]["secret"]["secretName"] == f"{service}-secrets"


@pytest.mark.parametrize("service", SERVICES)
def test_one_port_in_all_places(service: str) -> None:
    """Server, Service, network policy and the other service's address agree."""
    (container,) = _pod("Deployment", service)["containers"]
    port = int(ALL["ConfigMap", f"{service}-settings"]["data"]["GRPC_PORT"])
    assert container["ports"][0] == {"name": "grpc", "containerPort": port}
    assert ALL["Service", service]["spec"]["ports"][0]["port"] == port
    ingress, _ = ALL["NetworkPolicy", service]["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": port}]
    other = next(name for name in SERVICES if name != service)
    address = ALL["ConfigMap", f"{other}-settings"]["data"][f"{service.upper()}_ADDRESS"]
    assert address == f"dns:///{service}:{port}"


@pytest.mark.parametrize("service", SERVICES)
def test_the_metrics_can_be_read_from_outside_of_the_pod(service: str) -> None:
    """Server, container, network policy and the annotations that Prometheus goes by agree on the port."""
    settings = ALL["ConfigMap", f"{service}-settings"]["data"]
    port = int(settings["METRICS_PORT"])
    assert port == SETTINGS[service].model_fields["metrics_port"].default
    (container,) = _pod("Deployment", service)["containers"]
    assert container["ports"][1] == {"name": "metrics", "containerPort": port}
    _, ingress = ALL["NetworkPolicy", service]["spec"]["ingress"]
    assert ingress["ports"] == [{"protocol": "TCP", "port": port}]
    annotations = ALL["Deployment", service]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("setting", ["GRPC_HOST", "METRICS_HOST"])
def test_pods_listen_to_ipv6_and_ipv4(setting: str, service: str) -> None:
    """A cluster may have either alone, and ``::`` is both. Who gets there is the network policies' to say."""
    assert ALL["ConfigMap", f"{service}-settings"]["data"][setting] == "::"


@pytest.mark.parametrize("service", SERVICES)
def test_readiness_follows_the_database_and_liveness_does_not(service: str) -> None:
    """Else Kubernetes would restart every pod while a database is away."""
    (container,) = _pod("Deployment", service)["containers"]
    asked = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {answer["port"] for answer in asked.values()} == {"metrics"}
    paths = {kind: answer["path"].encode() for kind, answer in asked.items()}
    assert paths == {"startup": ALIVE, "readiness": READY, "liveness": ALIVE}


@pytest.mark.parametrize("service", SERVICES)
def test_plain_text_is_allowed_where_it_is_seen(service: str) -> None:
    """The base has no certificates; that its calls are plain text stands among its settings, or it would not start."""
    given = ALL["ConfigMap", f"{service}-settings"]["data"]
    assert ("TLS_CERT_FILE" in given) != (given.get("ALLOW_PLAINTEXT") == "true")


@pytest.mark.parametrize("service", SERVICES)
def test_a_pod_may_take_as_long_as_its_drain(service: str) -> None:
    """Killed earlier, it would cut calls off."""
    pod = _pod("Deployment", service)
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    fields = SETTINGS[service].model_fields
    drain = sum(fields[name].default for name in ("grpc_drain_ms", "grpc_grace_ms")) / 1000
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + 5


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_pods_can_do_no_more_than_they_need(kind: str, name: str) -> None:
    """What the namespace's level `restricted` asks for, and a file system that cannot be written."""
    pod = _pod(kind, name)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod.get("initContainers", ()), *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_pods_run_as_the_user_of_the_image(kind: str, name: str) -> None:
    """Another user could not read what the image or the secrets hold."""
    pod = _pod(kind, name)
    user = next(line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("USER "))
    assert user == f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "NetworkPolicy"])
def test_selectors_meet_the_pods(kind: str, service: str) -> None:
    """A selector that meets nothing is valid and does nothing."""
    spec = ALL[kind, service]["spec"]
    selector = spec["podSelector"] if kind == "NetworkPolicy" else spec["selector"]
    wanted = selector.get("matchLabels", selector)
    labels = ALL["Deployment", service]["spec"]["template"]["metadata"]["labels"]
    assert wanted
    assert wanted.items() <= labels.items()


@pytest.mark.parametrize("service", SERVICES)
def test_the_autoscaler_sets_the_number_of_pods(service: str) -> None:
    """A number in the Deployment would be put back by each apply, and one pod alone would make each drain an outage."""
    assert "replicas" not in ALL["Deployment", service]["spec"]
    scaler = ALL["HorizontalPodAutoscaler", service]["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": service}
    assert scaler["minReplicas"] > ALL["PodDisruptionBudget", service]["spec"]["maxUnavailable"] + 1


@pytest.mark.parametrize("service", SERVICES)
def test_a_migration_reaches_its_database(service: str) -> None:
    """All egress is denied but what a policy names, by the label of the pods."""
    labels = ALL["Job", f"{service}-migrate"]["spec"]["template"]["metadata"]["labels"]
    database = {"users": "mysql", "notifications": "mongodb"}[service]
    (expression,) = ALL["NetworkPolicy", database]["spec"]["podSelector"]["matchExpressions"]
    assert set(expression["values"]) == {service, labels["app.kubernetes.io/name"]}


@pytest.mark.parametrize("service", SERVICES)
def test_a_backup_is_taken_and_then_restored(service: str) -> None:
    """The recipe of docs/backups.md: one after the other, on one volume, and the database is reached and no other."""
    pod = _pod("CronJob", f"{service}-backup")
    (taking,), (drilling,) = pod["initContainers"], pod["containers"]
    commands = [" ".join(container["args"]) for container in (taking, drilling)]
    documented = (ROOT / "docs" / "backups.md").read_text()
    assert all(command.replace(service, "users") in documented for command in commands)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["backups"]["persistentVolumeClaim"]["claimName"] == f"{service}-backups"
    assert ("PersistentVolumeClaim", f"{service}-backups") in ALL
    for container in (taking, drilling):
        assert {"name": "backups", "mountPath": "/backups"} in container["volumeMounts"]
        assert container["envFrom"] == [{"configMapRef": {"name": f"{service}-settings"}}]
    policy = ALL["NetworkPolicy", f"{service}-backup"]["spec"]
    assert (
        policy["podSelector"]["matchLabels"].items()
        <= _template("CronJob", f"{service}-backup")["metadata"]["labels"].items()
    )
    database = {"users": "mysql", "notifications": "mongodb"}[service]
    assert policy["egress"] == ALL["NetworkPolicy", database]["spec"]["egress"]


@pytest.mark.parametrize("service", SERVICES)
def test_only_one_backup_runs_and_none_for_ever(service: str) -> None:
    """A backup that hangs neither meets the next one nor keeps it from running."""
    spec = ALL["CronJob", f"{service}-backup"]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 86_400
    assert spec["timeZone"] == "Etc/UTC"


@pytest.mark.parametrize(("kind", "name"), [pod for pod in PODS if pod[0] != "Deployment"])
def test_jobs_end(kind: str, name: str) -> None:
    """One whose image or secret never comes, or whose database never answers, would be there for ever."""
    spec = ALL[kind, name]["spec"]
    assert (spec["jobTemplate"]["spec"] if kind == "CronJob" else spec)["activeDeadlineSeconds"] > 0


@pytest.mark.parametrize("service", SERVICES)
def test_each_version_is_spread_by_itself(service: str) -> None:
    """Counted with the pods that a rollout ends, new ones would crowd where those are few."""
    constraints = _pod("Deployment", service)["topologySpreadConstraints"]
    assert {found["topologyKey"] for found in constraints} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    assert [found for found in constraints if found.get("matchLabelKeys") != ["pod-template-hash"]] == []


def test_names_are_resolved_wherever_a_cluster_does_it() -> None:
    """In any namespace of the cluster, on the usual port and OpenShift's, or by a cache of the node; not outside."""
    (rule,) = ALL["NetworkPolicy", "names"]["spec"]["egress"]
    assert {(port["protocol"], port["port"]) for port in rule["ports"]} == {
        (protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)
    }
    assert {"namespaceSelector": {}} in rule["to"]
    blocks = [ip_network(peer["ipBlock"]["cidr"]) for peer in rule["to"] if "ipBlock" in peer]
    assert {block.version for block in blocks} == {4, 6}
    assert [block for block in blocks if not block.is_private and not block.is_link_local] == []


MONITOR: Resource = next(_resources(FOLDER / "monitoring"))


def test_the_monitor_meets_the_pods_and_their_port() -> None:
    """Kubernetes has no schema for it, and the operator takes a selector that meets nothing."""
    assert (MONITOR["apiVersion"], MONITOR["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    (expression,) = MONITOR["spec"]["selector"]["matchExpressions"]
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    for service in SERVICES:
        template = ALL["Deployment", service]["spec"]["template"]
        assert template["metadata"]["labels"][expression["key"]] in expression["values"]
        (container,) = template["spec"]["containers"]
        assert endpoint["port"] in {port["name"] for port in container["ports"]}


def test_the_monitor_names_jobs_as_the_alerts_do() -> None:
    """An alert for a job of another name would never fire."""
    (endpoint,) = MONITOR["spec"]["podMetricsEndpoints"]
    (relabeling,) = endpoint["relabelings"]
    jobs = {relabeling["replacement"].replace("$1", service) for service in SERVICES}
    alerts = (ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text()
    named = set(re.findall(r"[a-z]+-service\b", " ".join(re.findall(r'job=~?"([^"]*)"', alerts))))
    assert relabeling["targetLabel"] == "job"
    assert relabeling["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_name"]
    assert jobs == named
