"""The local stack: PostgreSQL, Kafka, S3, SMTP and the five services as plain processes on 127.0.0.1."""

from local_stack.errors import StackError
from local_stack.stack import Stack

__all__ = ["Stack", "StackError"]
