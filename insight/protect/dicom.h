// DICOM files without what says whose they are: the Basic Application Level Confidentiality Profile of PS3.15, Annex E.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/export.h"
#include "insight/protect/conceal.h"
#include "insight/protect/pseudonym.h"
#include "insight/protect/text.h"

namespace fovea::insight {

/// A row of Table E.1-1 of PS3.15, as the standard has it: actions D, Z, X, U and their combinations in `basic`; K and
/// C in the options, in the order of the columns of insight/protect/dicom_profile_2024e.csv.
struct DicomProfileRow {
  std::string tag;  ///< "00100010", "50xxxxxx", "private"
  std::string name, basic;
  std::vector<std::string> options;
};
/// The whole table, in its order.
FOVEA_API const std::vector<DicomProfileRow>& dicom_profile();
/// The edition of the standard that the table is of: "2024e".
FOVEA_API std::string dicom_profile_edition();

/// Whether this build reads DICOM.
FOVEA_API bool dicom_available();

struct DicomOptions {
  std::vector<ConcealedBox> boxes;  ///< in every frame
  bool mask_text = false;  ///< look for text in the first, the middle and the last frame, and mask what is found in all
};

struct DeidentifiedDicom {
  std::vector<std::uint8_t> bytes;  ///< the new file
  std::vector<std::string>
      removed;  ///< kinds: "attributes", "private attributes", "overlays", "preamble", "JPEG notes", …
  std::string
      subject;  ///< the patient's pseudonym, which is the new PatientID too; empty where there was no ID and no name
  std::int64_t text_lines = 0;
};

/// Every attribute of the file, in sequences too, by the basic profile: X is removed, Z emptied, D replaced by a value
/// of its kind that says nothing, U replaced by a UID under 2.25. that depends on key and old UID only, so that
/// references between files stay. Where the table leaves a choice that depends on the kind of object, the one that
/// keeps more objects valid is taken: X/Z is Z, Z/D, X/D and X/Z/D are D, X/Z/U* is U. Removed too, because nobody can
/// say what they hold: private attributes, curves and overlays, attributes that the dictionary does not know, values of
/// unknown representation. PatientID and PatientName become the patient's pseudonym. Preamble and file meta information
/// are made anew. JPEG data loses its comments and application segments, and what lies behind its end.
///
/// PatientIdentityRemoved is YES, and DeidentificationMethod and its code sequence say 113100; 113101 is added only
/// where pixels were changed, which are then stored uncompressed, and BurnedInAnnotation is NO.
///
/// Errors: format (damaged; pictures packed as JPEG 2000 and others, whose data cannot be checked; packed pictures that
/// were to be looked at for text and cannot be unpacked), usage (a box outside the picture; a build without DCMTK).
FOVEA_API DeidentifiedDicom deidentify_dicom(std::span<const std::uint8_t> bytes, const PseudonymKey& key,
                                             const DicomOptions& options = {}, const std::string& name = "DICOM");

}  // namespace fovea::insight
