"""A small shop of ten services that run as processes of their own, with faults to inject and actions to mend them.

`examples.shop.shop.Shop` is the running shop, `examples.shop.scenario.run_scenario` a whole run, and
`examples.shop.faults.FAULTS` says what is true of each fault. Nothing is imported here, so that services start fast.
"""
