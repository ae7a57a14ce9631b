"""Given the protos, then each RPC says who may call it and what it does, changes can be repeated, and all is served."""

import ast
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import grpc_tools
import pytest
import yaml
from farthing.options.v1 import access_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from google.protobuf.descriptor_pool import DescriptorPool

REPOSITORY = Path(__file__).parents[2]
SERVICES = ("orders", "wallet", "subscriptions", "documents", "usage")

# Calls that are not GET, and yet change nothing that could be changed twice.
CHANGES_NOTHING = {
    "farthing.documents.v1.DocumentService.CreateDownloadUrl": "signs a link; writes nothing, each link expires alone",
}
# Lists that stay short by themselves.
WITHOUT_PAGES = {
    "farthing.wallet.v1.WalletService.ListWallets": "of one organization: one a currency, and those closed by a move",
}
# A request of many changes: each has a request id of its own.
REQUEST_IDS_WITHIN = {
    "farthing.wallet.v1.WalletService.PostCharge": "charge.request_id",
    "farthing.wallet.v1.WalletService.PostCharges": "charges.request_id",
}
# Changes that no HTTP option tells from reads.
CHANGES_WITHOUT_HTTP = {*REQUEST_IDS_WITHIN}


@cache
def descriptors() -> FileDescriptorSet:
    """Our protos, compiled anew, with comments."""
    files = sorted(str(path.relative_to(REPOSITORY / "protos")) for path in (REPOSITORY / "protos").rglob("*.proto"))
    includes = ["-I", "protos", "-I", "third_party", "-I", str(Path(grpc_tools.__file__).parent / "_proto")]
    with tempfile.NamedTemporaryFile() as out:
        wanted = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out.name}"]
        command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *wanted, *files]
        subprocess.run(command, cwd=REPOSITORY, check=True)
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


@cache
def services() -> dict[str, ServiceDescriptor]:
    """Every gRPC service of ours, by full name."""
    pool = DescriptorPool()
    for file in descriptors().file:
        pool.Add(file)
    return {
        f"{file.package}.{service.name}": pool.FindServiceByName(f"{file.package}.{service.name}")
        for file in descriptors().file
        if file.package.startswith("farthing.")
        for service in file.service
    }


def methods() -> list[str]:
    return [f"{name}.{method.name}" for name, service in services().items() for method in service.methods]


def find(full_name: str) -> MethodDescriptor:
    service, _, method = full_name.rpartition(".")
    return services()[service].methods_by_name[method]


def options(full_name: str) -> MethodOptions:
    """Read with the committed stubs, which know our extensions."""
    return MethodOptions.FromString(find(full_name).GetOptions().SerializeToString())


def is_change(full_name: str) -> bool:
    rule = options(full_name).Extensions[annotations_pb2.http].WhichOneof("pattern")
    return (rule is not None and rule != "get") or full_name in CHANGES_WITHOUT_HTTP


@pytest.mark.parametrize("method", methods())
def test_every_rpc_says_who_may_call_it(method: str) -> None:
    """Given an RPC, When its options are read, Then roles and scope are there; all tenants are for services alone."""
    access = options(method).Extensions[access_pb2.access]

    assert access.roles
    assert access_pb2.ROLE_UNSPECIFIED not in access.roles
    assert access.scope != access_pb2.SCOPE_UNSPECIFIED
    if access.scope == access_pb2.SCOPE_ALL:
        assert list(access.roles) == [access_pb2.ROLE_SERVICE]
    if access.services:
        assert access_pb2.ROLE_SERVICE in access.roles
        assert set(access.services) <= set(SERVICES)


def test_everything_public_has_a_comment() -> None:
    """Given the protos, When their comments are read, Then each service, RPC, message, enum and enum value has one."""
    silent = []
    for file in descriptors().file:
        if not file.package.startswith("farthing."):
            continue
        commented = {tuple(place.path) for place in file.source_code_info.location if place.leading_comments.strip()}
        for number, service in enumerate(file.service):
            silent += [f"{file.package}.{service.name}"] * ((6, number) not in commented)
            for index, method in enumerate(service.method):
                silent += [f"{service.name}.{method.name}"] * ((6, number, 2, index) not in commented)
        for number, message in enumerate(file.message_type):
            # The members of an event's oneof have comments of their own.
            silent += [f"{file.package}.{message.name}"] * ((4, number) not in commented)
        for number, enum in enumerate(file.enum_type):
            silent += [f"{file.package}.{enum.name}"] * ((5, number) not in commented)
    assert silent == []


@pytest.mark.parametrize("method", [method for method in methods() if is_change(method)])
def test_every_change_can_be_repeated(method: str) -> None:
    """Given an RPC that changes something, When its request is read, Then it has a request_id (AIP-155)."""
    if method in CHANGES_NOTHING:
        return
    message = find(method).input_type
    for name in REQUEST_IDS_WITHIN.get(method, "request_id").split("."):
        assert name in message.fields_by_name, f"{message.full_name} has no {name}"
        field = message.fields_by_name[name]
        message = field.message_type or message
    assert field.type == field.TYPE_STRING


def test_the_exceptions_exist() -> None:
    """Given the lists of exceptions above, When an RPC is renamed or removed, Then its exception goes, too."""
    assert {*CHANGES_NOTHING, *REQUEST_IDS_WITHIN, *WITHOUT_PAGES} <= set(methods())


@pytest.mark.parametrize(
    "method", [method for method in methods() if ".List" in method and method not in WITHOUT_PAGES]
)
def test_every_list_has_pages(method: str) -> None:
    """Given an RPC that lists, When its messages are read, Then it has pages from the start (AIP-158)."""
    request, reply = find(method).input_type, find(method).output_type

    assert {"page_size", "page_token"} <= set(request.fields_by_name.keys())
    assert "next_page_token" in reply.fields_by_name


def trees(service: str, *modules: str) -> list[ast.Module]:
    """The syntax of a service's modules, a package's as well; of all of them if none is named."""
    folder = REPOSITORY / "services" / service / "src" / service
    paths = [path for path in folder.rglob("*.py") if not modules or path.relative_to(folder).parts[0] in modules]
    return [ast.parse(path.read_text(), str(path)) for path in sorted(paths)]


def implemented(service: str) -> set[str]:
    """Names of the methods that the classes of a service's `rpc` have, and the audit trail's where it is wired."""
    sources = trees(service, "rpc", "rpc.py")
    if any("AuditRpc(" in ast.unparse(tree) for tree in trees(service, "main.py")):
        sources.append(ast.parse((REPOSITORY / "libs/servicekit/src/servicekit/audit.py").read_text()))
    classes = [node for tree in sources for node in tree.body if isinstance(node, ast.ClassDef)]
    methods_of = [part for node in classes for part in node.body]
    return {part.name for part in methods_of if isinstance(part, ast.AsyncFunctionDef | ast.FunctionDef)}


@pytest.mark.parametrize("full_name", sorted(services()))
def test_every_rpc_is_implemented_and_registered(full_name: str) -> None:
    """Given a gRPC service, When its owner's code is read, Then each RPC has a method and is registered."""
    owner, name = full_name.split(".")[1], services()[full_name].name

    missing = {method.name for method in services()[full_name].methods} - implemented(owner)
    assert missing == set()
    wired = any(f"add_{name}Servicer_to_server" in ast.unparse(tree) for tree in trees(owner))
    assert wired, f"{owner} does not register {full_name}"


def topics() -> list[dict]:
    return yaml.safe_load((REPOSITORY / "protos" / "topics.yaml").read_text())["topics"]


@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic["name"])
def test_topics_name_what_exists(topic: dict) -> None:
    """Given a topic, When its entry is read, Then its message, owner and consumers exist, and dead letters are kept."""
    messages = {
        f"{file.package}.{message.name}": message for file in descriptors().file for message in file.message_type
    }

    assert topic["message"] in messages
    assert len(messages[topic["message"]].oneof_decl) == 1
    assert topic["owner"] in SERVICES
    assert topic["name"] == f"farthing.{topic['owner']}.v1"
    assert set(topic["consumers"]) <= set(SERVICES) - {topic["owner"]}
    assert topic["dead_letters"]["retention_ms"] == -1


@pytest.mark.parametrize("topic", topics(), ids=lambda topic: topic["name"])
def test_topics_are_consumed_by_those_they_name(topic: dict) -> None:
    """Given a topic, When the services' code is read, Then those that consume it are those that its entry names: each
    needs its dead letters."""
    organizations = (REPOSITORY / "libs/directory/src/directory/consumer.py").read_text()
    consuming = set()
    for service in SERVICES:
        text = "\n".join(map(ast.unparse, trees(service)))
        by_directory = "organization_consumer(" in text and topic["name"] in organizations
        # `Consumer(name, topic, ...)`; the owner names its topic for its outbox.
        if by_directory or ("Consumer(" in text and topic["name"] in text and service != topic["owner"]):
            consuming.add(service)
    assert consuming <= set(topic["consumers"])
