"""What happens when a part dies, stalls or lies: real processes, and a checker of the promises. `make faults`."""
