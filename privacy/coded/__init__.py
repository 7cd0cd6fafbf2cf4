"""Plans that bring a Python module along: it runs in processes of its own, and here stands in for it what torch can work with.

`tasks` runs inside of those processes; everything else outside of them, where what comes back is not trusted.
"""
