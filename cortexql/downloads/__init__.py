"""What is taken away as a file, for people and programs alike: attachments, the audit log, observables."""
