// Internal: DICOM files through DCMTK, for decode() and for insight/protect, which takes names out of them. Included
// only where FOVEA_DCMTK is defined. Not installed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// DCMTK asks for its configuration before anything else of it
#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dctk.h>
// not among the above
#include <dcmtk/dcmdata/dcistrmb.h>
#include <dcmtk/dcmdata/dcpixseq.h>
#include <dcmtk/dcmdata/dcpxitem.h>

#include "image/codec.h"

namespace fovea::image::dicom {

/// A file held in memory, parsed whole. Error{format} where it is damaged; Error{file} where DCMTK lacks its
/// dictionary.
std::unique_ptr<DcmFileFormat> parse(codec::Bytes bytes, const std::string& name);

/// The packed data of each frame, its fragments joined. Error{format} where frames cannot be told apart.
std::vector<std::vector<std::uint8_t>> packed_frames(DcmFileFormat& file, const std::string& name);

/// How pixels are stored.
struct PixelFormat {
  int rows = 0, columns = 0, samples = 1, allocated = 8, stored = 8, high = 7;
  bool is_signed = false, planar = false;
  std::string photometric;
  std::int64_t frames = 1;
  E_TransferSyntax syntax = EXS_Unknown;
  bool jpeg = false;  ///< JPEG baseline; else uncompressed
  std::size_t frame_bytes() const;
};
/// Error{format} where the picture is missing or of a kind that is not read, such as JPEG 2000.
PixelFormat pixel_format(DcmFileFormat& file, const std::string& name);

/// One frame uncompressed, samples interleaved: `allocated` bits each, least significant byte first; of JPEG 8 bits,
/// RGB or grey. Error{format} where data is missing, unless options.allow_truncated: then zeros. Error{usage} for a
/// frame that does not exist.
std::vector<std::uint8_t> stored_frame(DcmFileFormat& file, const PixelFormat& format, std::int64_t frame,
                                       const DecodeOptions& options, const std::string& name);

/// The frame as it is meant to be seen: modality rescale, window or VOI LUT, MONOCHROME1 inverted, palette applied.
codec::Raw render(DcmFileFormat& file, const PixelFormat& format, std::int64_t frame, const DecodeOptions& options,
                  const std::string& name);

}  // namespace fovea::image::dicom
