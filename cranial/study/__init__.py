"""What does the whole study ask, and what did it find? A row is a training mix; its seeds leave a metrics.json each.

recipe      what does a study's YAML say?
planner     which jobs does that come down to, and which needs which?
plan        what is a job, and how are all handed to the workflow?
rates       what does a job cost?
batch       how is the whole of it run, and run again?
orphans     what has a killed run left in Slurm?
cases       which real cases does it train on, and which does it try?
experiment  what becomes of one row with one seed?
scores      what did the runs measure?
kept        what did a run propose, case by case, to look at?
compare     which row is better than the baseline, by how much, and how sure is that?
tables      how do Tables 2 to 6 read?
literature  what have others reported?
example     what does a study look like that takes a minute?
work        how much work is a piece of code?
cost        what would the whole study cost at its own resolution?
here        how fast is this machine at what that is made of?
"""
