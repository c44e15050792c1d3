"""Running neurons: one protocol, its runners, the job folder and what comes out of it."""
