// What a ledger permits, and what it does not.
#include "insight/protect/consent.h"

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include "catch.h"
#include "core/error.h"
#include "core/io/file.h"
#include "core/tensor.h"

using namespace fovea;
using namespace fovea::insight;
namespace fs = std::filesystem;

namespace {

/// Pictures that are nothing but their subjects.
class Subjects final : public Dataset {
 public:
  explicit Subjects(std::vector<std::string> groups) : groups_(std::move(groups)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(groups_.size()); }
  image::Image image(std::int64_t) const override { return image::Image(1, 1, 1); }
  std::int64_t label(std::int64_t) const override { return 0; }
  const std::vector<std::string>& class_names() const override { return names_; }
  std::string name(std::int64_t i) const override { return str("p", i); }
  std::string group(std::int64_t i) const override { return groups_[static_cast<std::size_t>(i)]; }

 private:
  std::vector<std::string> groups_, names_{"a"};
};

struct TempFile {
  std::string path;
  explicit TempFile(const std::string& text) {
    path = (fs::temp_directory_path() / "fovea_consent_XXXXXX").string();
    const int file = ::mkstemp(path.data());
    REQUIRE(file >= 0);
    ::close(file);
    write_file(path, text);
  }
  ~TempFile() { fs::remove(path); }
  TempFile(const TempFile&) = delete;
};

}  // namespace

TEST_CASE("consent: a ledger permits what its lines say, day by day") {
  const TempFile file(
      "subject,consent,purpose,expiry\n"
      "ann,yes,research; teaching,2026-06-30\n"
      "bob,yes,*,\n"
      "bob,no,teaching,\n"
      "cid,no,*,\n"
      "dee,yes,research,2020-01-01\n"
      "dee,yes,research,2026-01-01\n"
      "eve,yes,teaching,\n");
  const ConsentLedger ledger = ConsentLedger::read(file.path);
  const auto why = [&](const char* subject, const char* purpose, const char* day) {
    return ledger.objection(subject, purpose, day);
  };
  CHECK(why("ann", "research", "2026-06-30").empty());
  CHECK(why("ann", "teaching", "2026-06-30").empty());
  CHECK(why("ann", "research", "2026-07-01") == "consent expired on 2026-06-30");
  CHECK(why("ann", "advertising", "2026-01-01") == "consent is for other purposes");
  CHECK(why("bob", "research", "2099-01-01").empty());
  CHECK(why("bob", "teaching", "2026-01-01") == "consent was refused or withdrawn");
  CHECK(why("cid", "research", "2026-01-01") == "consent was refused or withdrawn");
  CHECK(why("dee", "research", "2026-01-01").empty());
  CHECK(why("dee", "research", "2026-01-02") == "consent expired on 2026-01-01");
  CHECK(why("eve", "research", "2026-01-01") == "consent is for other purposes");
  CHECK(why("fay", "research", "2026-01-01") == "not in the ledger");
  CHECK(why("", "research", "2026-01-01") == "no subject is known");
  CHECK(today().size() == 10);
  CHECK(today() > "2024-01-01");

  const std::vector<SubjectUse> uses =
      subjects_of({{"train", std::make_shared<Subjects>(std::vector<std::string>{"ann", "bob", "ann", "cid", ""})},
                   {"val", std::make_shared<Subjects>(std::vector<std::string>{"cid"})},
                   {"test", nullptr}});
  REQUIRE(uses.size() == 5);
  try {
    require_consent(uses, ledger, "research", "2026-01-01");
    FAIL("no error");
  } catch (const Error& e) {
    const std::string text = e.what();
    CHECK(e.kind() == ErrorKind::usage);
    CHECK(text.find("3 pictures are not covered for the purpose 'research' on 2026-01-01") != text.npos);
    CHECK(text.find("cid: consent was refused or withdrawn, 2 pictures") != text.npos);
    CHECK(text.find("pictures without a subject: no subject is known, 1 picture") != text.npos);
    CHECK(text.find("ann") == text.npos);
  }
  CHECK_NOTHROW(require_consent({{"ann", "train", 2}, {"bob", "val", 1}}, ledger, "research", "2026-01-01"));
  CHECK_THROWS_AS(require_consent({}, ledger, "", "2026-01-01"), Error);

  const TempFile list("");
  write_subjects(list.path, {{"a,b", "train", 3}, {"", "val", 1}});
  const std::vector<SubjectUse> back = read_subjects(list.path);
  REQUIRE(back.size() == 2);
  CHECK(back[0].subject == "a,b");
  CHECK(back[0].pictures == 3);
  CHECK(back[1].part == "val");
}

TEST_CASE("consent: a ledger that could be misread is refused") {
  const std::string head = "subject,consent,purpose,expiry\n";
  for (const std::string& text : {std::string(), std::string("subject,consent\na,yes\n"), head + "a,maybe,x,\n",
                                  head + "a,Yes,x,\n", head + "a,yes,,\n", head + "a,yes,x,31.12.2026\n",
                                  head + "a,yes,x,2026-13-01\n", head + ",yes,x,\n", head + "a,yes,x\n"}) {
    const TempFile file(text);
    INFO(text);
    CHECK_THROWS_AS(ConsentLedger::read(file.path), Error);
  }
}
