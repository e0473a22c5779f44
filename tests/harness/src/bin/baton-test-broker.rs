//! `deploy/broker`: the private RabbitMQ of the tests, started, found and ended by hand.

fn main() {}
