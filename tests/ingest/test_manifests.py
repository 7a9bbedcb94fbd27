"""Kubernetes manifests: who is told the address of whom."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import PayloadError
from ingest.manifests import read_manifests
from ingest.topology_files import read_topology_file

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{port: 7070}]}
---
apiVersion: v1
kind: Service
metadata: {name: redis-cart, namespace: shop}
spec: {selector: {app: redis}}
---
apiVersion: v1
kind: Service
metadata: {name: payments, namespace: money}
spec: {selector: {app: payment}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: addresses, namespace: shop}
data: {PAYMENT_URL: "https://user:secret@payments.money.svc.cluster.local:8443/v1", NOTE: "see cart for details"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: shop}
spec:
  template:
    metadata: {labels: {app: frontend}}
    spec:
      containers:
      - name: server
        env:
        - {name: CART_SERVICE_ADDR, value: "cart:7070"}
        - {name: SELF, value: "http://frontend:80"}
        - {name: ELSEWHERE, value: "https://cart.example.com:443"}
        - {name: GREETING, value: cart}
        - {name: TOKEN, valueFrom: {secretKeyRef: {name: s, key: k}}}
        envFrom: [{configMapRef: {name: addresses}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: cart-v2, namespace: shop}
spec:
  template:
    metadata: {labels: {app: cart}, annotations: {resource.opentelemetry.io/service.name: cartservice}}
    spec:
      containers: [{name: c, env: [{name: REDIS_HOST, value: redis-cart}], args: ["--peer=cart:7070"]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: payment, namespace: money}
spec: {template: {metadata: {labels: {app: payment}}, spec: {containers: [{name: p}]}}}
---
apiVersion: v1
kind: Pod
metadata:
  name: payment-7d4-x9
  namespace: money
  labels: {app: payment, pod-template-hash: 7d4}
  ownerReferences: [{kind: ReplicaSet, name: payment-7d4}]
spec: {nodeName: node-3, containers: [{name: p}]}
---
apiVersion: v1
kind: Service
metadata: {name: bank, namespace: money}
spec: {type: ExternalName, externalName: api.bank.example.}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: outside, namespace: money}
data: {BANK_URL: "https://bank/v1"}
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: ledger, namespace: money}
spec: {template: {metadata: {labels: {app: ledger}}, spec: {containers: [{name: l, envFrom: [{configMapRef: {name: outside}}]}]}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front, namespace: shop}
spec:
  rules: [{http: {paths: [{path: /cart, backend: {service: {name: cart, port: {number: 7070}}}}, {path: /x, backend: {service: {name: nobody}}}]}}]
"""


def test_workloads_call_the_services_whose_address_they_are_told() -> None:
    body = read_topology_file(SHOP)
    assert body["observed_by"] == "kubernetes"
    assert [(e["kind"], e["source"], e["target"]) for e in body["edges"]] == [
        ("CALLS", "cartservice", "redis-cart"),
        ("CALLS", "frontend", "cartservice"),
        ("CALLS", "frontend", "payment"),
        ("CALLS", "ingress/front", "cartservice"),
        ("CALLS", "ledger", "api.bank.example"),
        ("RUNS_ON", "payment", "node-3"),
        ("RUNS_ON", "payment", "pod/money/payment-7d4-x9"),
    ]


def test_what_kubectl_prints_reads_the_same() -> None:
    objects = list(yaml.safe_load_all(SHOP))
    listed = {"apiVersion": "v1", "kind": "List", "items": objects}
    assert read_topology_file(yaml.safe_dump(listed)) == read_topology_file(SHOP)
    pods = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in objects if o["kind"] == "Pod"]
    typed = {"apiVersion": "v1", "kind": "PodList", "items": pods}
    assert [edge["target"] for edge in read_manifests([typed])] == ["node-3", "pod/money/payment-7d4-x9"]


def test_manifests_without_any_edge_are_refused_with_the_reason() -> None:
    with pytest.raises(PayloadError, match="no workload is told the address"):
        read_topology_file("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n")
    with pytest.raises(PayloadError, match="several YAML documents"):
        read_topology_file("edges: []\n---\nedges: []\n")


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["metadata", "spec", "template", "containers", "env", "name", "labels", "items", "data"]), inner
    ),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["Deployment", "Pod", "Service", "ConfigMap", "CronJob", "Ingress", "List", "PodList"]),
    _values,
    _values,
)
def test_no_shape_of_an_object_breaks_it(kind: str, metadata: Any, spec: Any) -> None:
    read_manifests(
        [{"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec, "items": spec, "data": spec}]
    )


@pytest.mark.parametrize(
    "text",
    [
        '{"a":' * 3000,
        "when: 2026-02-30",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)),
    ],
    ids=["deep", "no such day", "aliases of aliases"],
)
def test_a_file_that_is_made_to_break_readers_is_refused(text: str) -> None:
    with pytest.raises(PayloadError):
        read_topology_file(text)
