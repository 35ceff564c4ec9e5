"""What several gateways hold in common, in Redis: a module that is loaded only where a setting names one."""
