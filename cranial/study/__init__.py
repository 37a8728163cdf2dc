"""What does the whole study ask, and what did it find? A row is a training mix; its seeds leave a metrics.json each.

scores      what did the runs measure?
compare     which row is better than the baseline, by how much, and how sure is that?
tables      how do Tables 2 to 6 read?
literature  what have others reported?
"""
