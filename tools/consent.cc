#include "tools/consent.h"

#include "core/error.h"

namespace fovea::tools {

void add_consent_options(CLI::App& command, ConsentOptions& options) {
  const std::string group = "Consent";
  command
      .add_option("--consent", options.ledger,
                  "CSV ledger subject,consent,purpose,expiry: refuse pictures of subjects that it does not cover")
      ->group(group);
  command.add_option("--purpose", options.purpose, "What the pictures are used for, as the ledger calls it")
      ->group(group);
}

void check_consent(const ConsentOptions& options, const std::vector<insight::SubjectUse>& uses) {
  if (options.ledger.empty() != options.purpose.empty()) {
    throw Error(ErrorKind::usage, options.ledger.empty() ? "--purpose" : "--consent",
                options.ledger.empty() ? "needs a ledger" : "needs a purpose", "give both --consent and --purpose");
  }
  if (options.ledger.empty()) return;
  insight::require_consent(uses, insight::ConsentLedger::read(options.ledger), options.purpose, insight::today());
}

}  // namespace fovea::tools
