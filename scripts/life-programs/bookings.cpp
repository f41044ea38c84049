// C++: bookings in ordered maps by flat and by guest, with names as strings; many are moved or cancelled.
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <vector>

struct Booking {
    std::string guest, remark;
    std::vector<int> nights;
};

int main() {
    std::mt19937 dice(65);
    std::map<long, Booking> by_flat;
    std::multimap<std::string, long> by_guest;
    long length = 0;
    for (int number = 0; number < 220000; number++) {
        long key = static_cast<long>(dice() % 400) * 100000 + dice() % 900;
        auto found = by_flat.find(key);
        if (found != by_flat.end()) {
            auto [first, last] = by_guest.equal_range(found->second.guest);
            for (; first != last; ++first)
                if (first->second == key) {
                    by_guest.erase(first);
                    break;
                }
            by_flat.erase(found);
        }
        Booking booking;
        booking.guest = "guest number " + std::to_string(dice() % 20000);
        if (dice() % 3 == 0) booking.remark = "arrives at " + std::to_string(dice() % 24) + " o'clock, late";
        for (unsigned night = 0; night < 1 + dice() % 9; night++) booking.nights.push_back(night);
        length += booking.guest.size() + booking.remark.size();
        by_guest.emplace(booking.guest, key);
        by_flat.emplace(key, std::move(booking));
        if (by_flat.size() > 30000) by_flat.erase(by_flat.begin());
    }
    std::printf("%zu %ld\n", by_flat.size(), length);
}
