"""The worker: claims jobs, runs attempts, keeps leases, stops well."""
