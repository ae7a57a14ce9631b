"""What is sold, what an order costs at every tier, and the life of an order. Pure: no I/O, no clock, no protobuf."""
