"""What the tour needs of grpcurl, where it is not installed: `-plaintext -H .. -d .. ADDRESS SERVICE/METHOD`."""

import argparse
import importlib
import json
import sys

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message_factory import GetMessageClass

# Importing these registers their descriptors.
_MODULES = {
    "orders": ("audit", "catalogue", "orders"),
    "wallet": ("adjustments", "audit", "holds", "organizations", "payments", "vouchers", "wallets"),
}


def main(arguments: list[str]) -> int:
    """Calls the method, prints every answer as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-H", dest="header", required=True)
    parser.add_argument("-d", dest="data", default="{}")
    parser.add_argument("address")
    parser.add_argument("method")
    asked = parser.parse_args(arguments)
    for package, modules in _MODULES.items():
        for module in modules:
            importlib.import_module(f"farthing.{package}.v1.{module}_pb2")
    service, _, name = asked.method.rpartition("/")
    method = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    key, _, value = asked.header.partition(": ")
    reply = GetMessageClass(method.output_type)
    request = Parse(asked.data, GetMessageClass(method.input_type)())
    with grpc.insecure_channel(asked.address) as channel:
        call = channel.unary_stream(
            f"/{asked.method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=reply.FromString,
        )
        try:
            for message in call(request, metadata=((key, value),), timeout=60):
                print(json.dumps(MessageToDict(message), indent=2, ensure_ascii=False))
        except grpc.RpcError as error:
            print(f"ERROR: {error.code().name}: {error.details()}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
