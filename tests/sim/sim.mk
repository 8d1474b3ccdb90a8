# SPDX-License-Identifier: GPL-2.0-or-later
# The simulated drivers, and what they catch; included by the Makefile.

SIM_OBJECTS := $(addprefix $(BUILD)/tests/sim/,disk.o oracle.o driver.o truth.o invariants.o check.o plan.o fixture.o simulate.o)

$(BUILD)/tests/sim/%.o: tests/sim/%.c
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

$(BUILD)/tests/simulate: $(SIM_OBJECTS) $(BUILD)/libwbfmt.a
	$(Q)$(CC) -o $@ $^ $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

# for tests/sim/planted: the library with one file of it changed
ifdef PLANTED_FILE
$(LINK_PLANTED)/%.o: $(LINK_PLANTED)/libwbfmt/%.c
	$(Q)$(COMPILE) -c -o $@ $<

$(LINK_PLANTED)/simulate: $(SIM_OBJECTS) $(LINK_PLANTED)/$(PLANTED_FILE).o $(BUILD)/libwbfmt.a
	$(Q)$(CC) -o $@ $^ $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

$(LINK_PLANTED)/test_%: tests/unit/test_%.c $(LINK_PLANTED)/$(PLANTED_FILE).o $(BUILD)/libwbfmt.a
	$(Q)$(COMPILE) -Ilibwbfmt -o $@ $^ $(ALL_LDFLAGS) $(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) $(CMOCKA)
endif

# At least 100,000 operations of an application, 400 runs with each kind of fault, and every planted bug.
check-sim: export WB_OPERATIONS := 120000
check-sim: export WB_KIND_RUNS := 400
check-sim: export WB_PROOF := $(CURDIR)/build/proof/sim
check-sim:
	@mkdir -p build/proof
	@rm -f $(WB_PROOF)
	$(MAKE) -j2 WERROR=-Werror tests
	@tests/run sim build simulate planted; status=$$?; \
		echo "simulator: $$(grep -c '^ok - planted' build/tests/sim.tap) of $$(ls tests/sim/bugs | wc -l) planted bugs caught" \
		>> $(WB_PROOF); cat $(WB_PROOF); exit $$status

# For nights: SEED begins, RUNS are made.
SEED ?= 1000000
RUNS ?= 1000000
sim-long: $(BUILD)/tests/simulate
	$(BUILD)/tests/simulate --seed $(SEED) --runs $(RUNS) --fixture $(BUILD)/tests/simulated.wbt
.PHONY: check-sim sim-long
