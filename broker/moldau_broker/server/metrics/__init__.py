"""From the components' plain counters to the metrics table, when somebody scrapes. Changes nothing.

`watching` runs all the time; everything else is imported with the first scrape (`emitters`).
"""
