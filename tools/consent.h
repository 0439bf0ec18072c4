// --consent and --purpose of the commands that use pictures. Internal to tools/.
#pragma once

#include <string>
#include <vector>

#include "insight/protect/consent.h"
#include "tools/command.h"

namespace fovea::tools {

struct ConsentOptions {
  std::string ledger, purpose;
};
void add_consent_options(CLI::App& command, ConsentOptions& options);
/// Error{usage} where a ledger is given and does not cover all, or only one of the options is given.
void check_consent(const ConsentOptions& options, const std::vector<insight::SubjectUse>& uses);

}  // namespace fovea::tools
