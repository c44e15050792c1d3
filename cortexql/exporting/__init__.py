"""What is known of observables, in the forms that others read: CSV, STIX 2.1, MISP."""
