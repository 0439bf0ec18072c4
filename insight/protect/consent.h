// Who agreed to what: a ledger of consents, what of a data set it covers, and which runs used whom.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "augment/dataset.h"
#include "core/export.h"

namespace fovea::insight {

/// One line of a ledger.
struct Consent {
  std::string subject;
  bool given = false;
  std::vector<std::string> purposes;  ///< "*": any
  std::string expiry;                 ///< last day, YYYY-MM-DD; empty: none
};

class FOVEA_API ConsentLedger {
 public:
  /// CSV with a first line subject,consent,purpose,expiry: consent is yes or no; purposes are separated by ';', '*' is
  /// any; expiry is the last day it holds, YYYY-MM-DD, or empty. A subject may have several lines. Error{file},
  /// Error{format} with the line: a ledger that is misread would permit what nobody agreed to.
  static ConsentLedger read(const std::string& path);
  explicit ConsentLedger(std::vector<Consent> entries) : entries_(std::move(entries)) {}

  /// Why the subject's pictures may not be used for the purpose on that day (YYYY-MM-DD); empty: they may. One "no"
  /// that names the purpose outweighs any "yes".
  std::string objection(const std::string& subject, const std::string& purpose, const std::string& day) const;

 private:
  std::vector<Consent> entries_;
};

/// Today as YYYY-MM-DD, local time.
FOVEA_API std::string today();

/// A subject (Dataset::group) and how many pictures there are of it, by part of the data.
struct SubjectUse {
  std::string subject, part;
  std::int64_t pictures = 0;
};
/// By subject, then part. Pictures without a subject are listed under "".
FOVEA_API std::vector<SubjectUse> subjects_of(const std::vector<std::pair<std::string, DatasetPtr>>& parts);

/// Error{usage} that names those whose pictures the ledger does not cover, why, and how many pictures; pictures without
/// a subject are never covered.
FOVEA_API void require_consent(const std::vector<SubjectUse>& uses, const ConsentLedger& ledger,
                               const std::string& purpose, const std::string& day);

/// subjects.csv of a run folder: subject,part,pictures. Error{file}; reading: Error{format}.
FOVEA_API void write_subjects(const std::string& path, const std::vector<SubjectUse>& uses);
FOVEA_API std::vector<SubjectUse> read_subjects(const std::string& path);

}  // namespace fovea::insight
