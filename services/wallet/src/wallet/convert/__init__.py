"""Between protos and domain; nothing else knows both."""
