// fovea report: the page of a run, in what it finds by itself and what it is told.
#include "tests/tools/program.h"

using namespace tool;

TEST_CASE("report: a run finds its own pictures again, and the page says what evaluate says") {
  const TempFolder folder;
  const std::string hostile = "<img src=x onerror=alert(1)>";
  make_pictures(folder / "data/train", {hostile, "bee"}, 20);
  make_pictures(folder / "data/val", {hostile, "bee"}, 15);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  write(folder / "card.json", R"({"intended_use": "Counting <b>bees</b>."})");
  const Outcome out = run(
      {"report", folder / "run", "--json", "--bootstrap", "50", "--seconds", "0.01", "--card", folder / "card.json"});
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(out.json()["report"] == folder / "run/report.html");
  const std::string page = read(folder / "run/report.html");
  const Outcome evaluated = run({"evaluate", folder / "run", folder / "data", "--split", "val", "--json"});
  CHECK(out.json()["confusion"] == evaluated.json()["confusion"]);
  CHECK(out.json()["ece"] == evaluated.json()["ece"]);
  CHECK(contains(page, "30 validation pictures"));
  CHECK(contains(page, "Counting &lt;b&gt;bees&lt;/b&gt;."));
  CHECK(contains(page, "&lt;img src=x onerror=alert(1)&gt;"));
  CHECK_FALSE(contains(page, hostile));
  CHECK_FALSE(contains(page, folder.path()));  // where things lie on this machine
  for (const char* id :
       {"summary", "card", "data", "confusion", "classes", "decisions", "calibration", "mistakes", "cost", "terms"})
    CHECK(contains(page, std::string("<section id=\"") + id + "\""));

  // Pictures that have changed since are no longer those that training kept apart.
  CHECK_FALSE(contains(page, "have changed since"));
  fs::copy_file(folder / "data/val/bee/picture1.png", folder / "data/val/bee/one more.png");
  REQUIRE(run({"report", folder / "run", "--bootstrap", "0", "--seconds", "0", "-q"}).code == 0);
  CHECK(contains(read(folder / "run/report.html"), "have changed since"));
}

TEST_CASE("report: a plain folder is divided as training divided it") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee", "cat"}, 12);
  REQUIRE(run(quick_train(folder / "data", folder / "run", {"--val", "0.5", "--seed", "7"})).code == 0);
  const Outcome out = run({"report", folder / "run", "--json", "--bootstrap", "0", "--seconds", "0"});
  REQUIRE(out.code == 0);
  // What training saw of its validation part at the end.
  const Json told = Json::parse(read(folder / "run/evaluation.json"));
  CHECK(out.json()["n"] == 18);
  CHECK(out.json()["confusion"] == told["confusion"]);
  CHECK_FALSE(contains(read(folder / "run/report.html"), "have changed since"));
}

TEST_CASE("report: other pictures, groups, and nothing that names anyone") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 12);
  make_pictures(folder / "today", {"ant", "bee"}, 24);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  std::string groups = "path,site,sex\n";
  for (int i = 0; i < 24; ++i)
    groups += "picture" + std::to_string(i) + ".png," + (i < 10 ? "north" : "south") + (i % 2 ? ",f\n" : ",m\n");
  write(folder / "groups.csv", groups);
  const Words words{"report",      folder / "run",
                    "--data",      folder / "today",
                    "--out",       folder / "page.html",
                    "--bootstrap", "0",
                    "--seconds",   "0",
                    "--groups",    folder / "groups.csv",
                    "--no-names",  "--no-pictures",
                    "--positive",  "ant"};
  const Outcome out = run(words);
  INFO(out.err);
  REQUIRE(out.code == 0);
  const std::string page = read(folder / "page.html");
  CHECK(contains(page, "48 pictures of today"));
  CHECK(contains(page, "<bdi>north</bdi>"));
  CHECK(contains(page, "<bdi>sex</bdi>"));
  CHECK(contains(page, "ROC curve of ant"));
  CHECK_FALSE(contains(page, "picture3"));
  CHECK_FALSE(contains(page, "<img"));
  // These were all copied from the training's: the audit of both says so.
  fs::remove_all(folder / "today");
  fs::copy(folder / "data", folder / "today", fs::copy_options::recursive);
  REQUIRE(run(words).code == 0);
  CHECK(contains(read(folder / "page.html"), "serious: leak"));
}

TEST_CASE("report: what is missing is said") {
  const TempFolder folder;
  make_pictures(folder / "data", {"ant", "bee"}, 6);
  REQUIRE(run(quick_train(folder / "data", folder / "run")).code == 0);
  const auto code = [&](const Words& more) {
    Words words{"report", folder / "run", "--bootstrap", "0", "--seconds", "0", "-q"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words).code;
  };
  CHECK(code({}) == 0);
  CHECK(code({"--positive", "wasp"}) == 2);
  CHECK(code({"--card", folder / "none.json"}) == 1);
  write(folder / "card.json", R"({"license": "CC0"})");
  CHECK(code({"--card", folder / "card.json"}) == 1);
  write(folder / "run/run.json", "{}");
  CHECK(code({}) == 1);
  fs::remove(folder / "run/run.json");  // a run of an older version
  const Outcome old = run({"report", folder / "run"});
  CHECK(old.code == 2);
  CHECK(contains(old.err, "--data"));
  CHECK(code({"--data", folder / "data"}) == 0);
  REQUIRE(run({"compile", folder / "run", "--out", folder / "small.fovea"}).code == 0);
  CHECK(run({"report", folder / "small.fovea", "--data", folder / "data"}).code == 2);
  CHECK(run({"report"}).code == 2);
  CHECK(run({"report", "--write-card", folder / "new.json"}).code == 0);
  CHECK(Json::parse(read(folder / "new.json"))["consent"] == "");
}
