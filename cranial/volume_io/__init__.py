"""One module a file format: nrrd, nifti, dicom, mesh; `cranial.volume.read` and `write` choose among them."""
