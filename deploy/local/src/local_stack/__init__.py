"""The local stack: PostgreSQL, Kafka, S3, SMTP and the five services as plain processes on 127.0.0.1."""

import os

# This package starts processes beside gRPC's threads. gRPC's own handling of forks crashed such children now and then,
# before they became another program; it is for processes that go on as a fork, which these do not.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from local_stack.errors import StackError
from local_stack.stack import Stack

__all__ = ["Stack", "StackError"]
