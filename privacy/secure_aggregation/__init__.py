"""Secure aggregation: the aggregator learns the sum of the silos' vectors and nothing else. Bonawitz et al. 2017.

    silo                      aggregator                  what travels
    client.advertise          server.begin
                              .gather_advertisements      two signed keys a silo, then everybody's to everybody
    client.share              .gather_shares, .incoming   encrypted shares, routed
    client.mask               .new_total, .add, .close    one masked vector a silo, then the survivors
    client.vouch              .gather_vouches             signed survivor sets, then everybody's to everybody
    client.unmask             .gather_unmaskings          shares that open the sum
                              unmasking.open_sum

No I/O, no clock, no transport. Alone it is NOT differential privacy: the sum itself may reveal a patient.
"""
