#include "link/curve_keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>

namespace mapl::link {
namespace {

class KeyFile : public testing::Test {
 protected:
  void SetUp() override {
    std::array<char, 64> name{"/tmp/mapl_keys_test_XXXXXX"};
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name.data();
    path_ = folder_ / "stage.key";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& text, mode_t mode) {
    std::ofstream(path_) << text;
    ASSERT_EQ(::chmod(path_.c_str(), mode), 0);
  }
  std::string refusal() {
    try {
      (void)read_secret_key(path_);
    } catch (const UserError& error) {
      return error.what();
    }
    return "";
  }

  std::filesystem::path folder_;
  std::filesystem::path path_;
};

TEST(CurveKeys, PairsAreFreshAndBelongTogether) {
  const CurveIdentity a = generate_identity();
  const CurveIdentity b = generate_identity();
  EXPECT_NE(a.secret_key, b.secret_key);
  EXPECT_EQ(public_key_of(a.secret_key), a.public_key);
  EXPECT_TRUE(is_key(a.public_key));
  EXPECT_TRUE(is_key(a.secret_key));
}

// The pair of RFC 26 / zmq_curve(7): printed there, not made by us.
TEST(CurveKeys, PublicKeyIsThatOfThePublishedPair) {
  EXPECT_EQ(public_key_of("D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"),
            "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID");
}

// RFC 32's own example.
TEST(CurveKeys, Z85IsAsPublished) {
  constexpr std::array<uint8_t, 8> kBytes = {0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b};
  EXPECT_EQ(to_z85(std::as_bytes(std::span(kBytes))), "HelloWorld");
}

TEST(CurveKeys, WhatIsNoKeyIsRefused) {
  for (const char* text : {"", "short", "0123456789012345678901234567890123456789 ",
                           "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~"}) {
    EXPECT_FALSE(is_key(text)) << text;
    EXPECT_THROW((void)public_key_of(text), UserError) << text;
  }
}

TEST_F(KeyFile, IsForItsOwnerAndComesBack) {
  const CurveIdentity identity = generate_identity();
  ASSERT_TRUE(write_secret_key(path_, identity).is_ok());
  struct stat info {};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  EXPECT_EQ(read_secret_key(path_).secret_key, identity.secret_key);
  EXPECT_EQ(read_secret_key(path_).public_key, identity.public_key);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(KeyFile, IsNeverOverwritten) {
  const CurveIdentity first = generate_identity();
  ASSERT_TRUE(write_secret_key(path_, first).is_ok());
  EXPECT_THROW((void)write_secret_key(path_, generate_identity()), UserError);
  EXPECT_EQ(read_secret_key(path_).secret_key, first.secret_key);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(KeyFile, FolderThatIsMissingIsAnIoError) {
  const Status status = write_secret_key(folder_ / "missing" / "key", generate_identity());
  EXPECT_EQ(status.code(), Code::kIo);
  EXPECT_NE(status.message().find("missing"), std::string::npos) << status.message();
}

TEST_F(KeyFile, ReadableByOthersIsRefusedWithTheFix) {
  for (mode_t mode : {0640, 0604, 0620, 0666}) {
    write(generate_identity().secret_key + "\n", mode);
    EXPECT_NE(refusal().find("chmod 600"), std::string::npos) << std::oct << mode;
  }
}

TEST_F(KeyFile, MalformedContentIsRefused) {
  const std::string key = generate_identity().secret_key;
  for (const std::string& text : {std::string(), key.substr(1), key + "x\n", key + "\n\n"}) {
    write(text, 0600);
    EXPECT_NE(refusal().find("40 characters"), std::string::npos) << text;
  }
}

TEST_F(KeyFile, MissingIsRefusedWithItsPath) {
  EXPECT_NE(refusal().find(path_.string()), std::string::npos);
}

}  // namespace
}  // namespace mapl::link
