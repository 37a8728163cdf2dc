"""Which skulls, and which holes in them? A map, by question:

anatomy, phantom               what does a skull look like when nobody scanned one?
  bone, face                     is there bone at this point? (shapes: what both, and holes, are drawn with)
population                     what does a folder of phantoms hold?
defects                        what is cut out of a complete skull, and in which style?
  hole                           which voxels lie in it?
datasets                       which public cases are on this disk, and what is missing of them?
  layouts                        where does each dataset keep its files?
  listing                        which file here is in which of those places?
  completeness                   what was published and is not here?
splits                         which skulls teach, which choose, which judge? (lists in split_files/)

Nothing is imported here.
"""
