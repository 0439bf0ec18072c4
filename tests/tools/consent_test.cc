// --consent, subjects.csv and fovea forget.
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("consent: training refuses what is not covered, runs say whom they used, and can be found") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 6);
  std::string manifest = "path,label,group\n";
  for (const char* label : {"ant", "bee"}) {
    for (int i = 0; i < 6; ++i)
      manifest += std::string("data/") + label + "/picture" + std::to_string(i) + ".png," + label + ",site" +
                  std::to_string(i) + "\n";
  }
  write(folder / "all.csv", manifest);
  const std::string head = "subject,consent,purpose,expiry\n";
  std::string ledger = head;
  for (int i = 0; i < 5; ++i) ledger += "site" + std::to_string(i) + ",yes,research,2999-12-31\n";
  write(folder / "ledger.csv", ledger + "site5,yes,research,2001-01-01\n");
  const Words consent{"--consent", folder / "ledger.csv", "--purpose", "research"};
  const Outcome refused = run(quick_train(folder / "all.csv", folder / "runs/a", consent));
  CHECK(refused.code == 2);
  CHECK(contains(refused.err, "2 pictures are not covered"));
  CHECK(contains(refused.err, "site5: consent expired on 2001-01-01, 2 pictures"));
  CHECK_FALSE(fs::exists(folder / "runs/a"));
  CHECK(run(quick_train(folder / "all.csv", folder / "runs/a", {"--consent", folder / "ledger.csv"})).code == 2);
  CHECK(run(quick_train(folder / "data", folder / "runs/a", consent)).code == 2);  // no subjects

  write(folder / "ledger.csv", ledger + "site5,yes,*,\n");
  const Outcome trained = run(quick_train(folder / "all.csv", folder / "runs/a", consent));
  INFO(trained.err);
  REQUIRE(trained.code == 0);
  CHECK(contains(read(folder / "runs/a/subjects.csv"), "site5,"));
  REQUIRE(run(quick_train(folder / "data", folder / "runs/b")).code == 0);
  CHECK_FALSE(fs::exists(folder / "runs/b/subjects.csv"));
  const Words evaluate{"evaluate",  folder / "runs/a",     folder / "all.csv",
                       "--consent", folder / "ledger.csv", "--purpose"};
  Words good = evaluate, bad = evaluate;
  good.emplace_back("research");
  bad.emplace_back("teaching");
  CHECK(run(good).code == 0);
  CHECK(run(bad).code == 2);

  const Outcome found = run({"forget", "site3", folder / "runs", "--json"});
  REQUIRE(found.code == 0);
  CHECK(found.json()["runs"].size() == 1);
  CHECK(found.json()["runs"][0]["run"] == folder / "runs/a");
  CHECK(contains(run({"forget", "site3", folder / "runs"}).out, "1 of 1 runs used 'site3'"));
  CHECK(contains(run({"forget", "nobody", folder / "runs"}).out, "none of 1 runs"));
  CHECK(run({"forget", "site3", folder / "nothing"}).code == 1);
}
