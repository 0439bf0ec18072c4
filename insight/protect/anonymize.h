// Folders of pictures copied without anything that says whose they are: see docs/privacy.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/export.h"
#include "insight/protect/conceal.h"
#include "insight/protect/pseudonym.h"
#include "insight/protect/text.h"
#include "train/cancel.h"

namespace fovea::insight {

/// A box and the picture it is meant for: a path as the inputs give it, a path below an input folder, or a file name
/// that only one picture has.
struct PictureBox {
  std::string picture;
  ConcealedBox box;
  std::string where;  ///< for errors: "boxes.csv:3"
};
/// CSV with a first line path,x,y,w,h and, if wanted, a last column of `mask` or `blur` (its own name does not matter).
/// Error{file}, Error{format} with the line.
FOVEA_API std::vector<PictureBox> read_boxes(const std::string& path);

struct AnonymizeOptions {
  std::vector<PictureBox> boxes;
  int group_prefix =
      0;  ///< the first so many bytes of a file's name are its subject, who gets a pseudonym too; 0: none
  int keep_folders = 64;  ///< so many levels of folders below an input keep their names; deeper ones get pseudonyms
  int jpeg_quality = 95;
  bool mask_text = false;  ///< find text in the picture (find_text()) and mask it
  bool overwrite = false;  ///< write into a folder that is not empty, over files of the same name
  std::string link;        ///< write original paths and pseudonyms to this CSV file, readable by its owner only
  std::function<void(std::int64_t done, std::int64_t total)> on_progress;
  const CancelToken* cancel = nullptr;
};

struct AnonymizedPicture {
  std::string source;                ///< the original's path
  std::string path;                  ///< below the output folder, '/' between folders
  std::string group;                 ///< the subject's pseudonym: with group_prefix, or of a DICOM file's patient
  std::string sha256;                ///< of the new file
  std::vector<std::string> removed;  ///< kinds of content: hidden_content(), "orientation"
  std::int64_t concealed = 0;        ///< boxes
  std::int64_t text_lines = 0;       ///< lines of text that were found and masked
  std::string error;                 ///< why there is no new file; empty: there is one
};

struct Anonymized {
  std::vector<AnonymizedPicture> pictures;       ///< by path
  std::map<std::string, std::int64_t> left_out;  ///< files that are no pictures of a kind we read, by extension
  std::int64_t strangers = 0;                    ///< files in the output folder that are not of this run
  std::int64_t failed() const;
};

/// Decodes every JPEG, PNG, BMP and DICOM file among and below `inputs` (files and folders; hidden files are passed
/// over), conceals boxes, and encodes it anew below `out`: JPEG as JPEG, all others as PNG; DICOM by
/// deidentify_dicom(). Only pixels get across, turned upright by
/// the EXIF orientation; transparency is blended over white. Folders keep their names (see keep_folders), files are
/// named by the HMAC of their path below the input, so equal paths get equal names under one key. With group_prefix a
/// name is the subject's 12 digits, '_' and 12 of its own: `--group-prefix 12` of the other commands then keeps
/// subjects together. Several input folders become folders of their names in `out`.
///
/// Each file appears whole or not at all (AtomicFile). When all are done, `out`/manifest.csv lists path, group, sha256,
/// removed, concealed, text_lines (never what the text says): it is written last, so a folder without it is unfinished.
/// Originals are only read.
///
/// A picture that cannot be read, or has a box outside of it, gets no new file and an `error`; the others go on.
/// Error{usage}, before anything is written: `out` in an input or an input in `out`, a link file in `out`, boxes that
/// name no picture or several, an `out` that is not empty, no pictures at all. Error{file}, Error{cancelled}.
FOVEA_API Anonymized anonymize(const std::vector<std::string>& inputs, const std::string& out, const PseudonymKey& key,
                               const AnonymizeOptions& options = {});

/// Error{usage} where `path` (`what` in the text, such as "the key") would lie in `folder`, links followed.
FOVEA_API void require_outside(const std::string& path, const std::string& folder, const std::string& what);

}  // namespace fovea::insight
