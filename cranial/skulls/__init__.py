"""Which skulls, and which holes in them? A map, by question:

anatomy, phantom               what does a skull look like when nobody scanned one?
  bone, face                     is there bone at this point? (shapes: what both, and holes, are drawn with)
population                     what does a folder of phantoms hold?
defects                        what is cut out of a complete skull, and in which style?
  hole                           which voxels lie in it?
  placing                        where does it go, and how large is it, if somebody chooses?
store                          where do 64,000 synthetic cases lie, and which are still to be made?
  shard_folder                   how do many write at once, with nothing lost in a crash?
  shards                         which bytes is a case, and a shard of them?
  packed_bits                    how are two masks packed, and unpacked quickly?
  label_view                     how does one look through the whole set?
datasets                       which public cases are on this disk, and what is missing of them?
  layouts                        where does each dataset keep its files?
  listing                        which file here is in which of those places?
  completeness                   what was published and is not here?
splits                         which skulls teach, which choose, which judge? (lists in split_files/)

Nothing is imported here.
"""
