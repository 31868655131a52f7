"""Train the winner, compile it, and compare it with the dense engines and with what was asked for."""
