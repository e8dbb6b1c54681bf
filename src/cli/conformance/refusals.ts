/** How `weightgate conformance` says no. */

import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const conformanceFormRefusals = defineRefusals('malformed', {
  'conformance-class': {
    means: 'A folder is not that of a device class.',
    hint: 'It needs a device-class.ts that exports one object of the type DeviceClass; attestation/README.md has a template to copy.',
  },
  'conformance-fixture': {
    means: 'There is no fixture for a device class, or it is not one.',
    hint: 'Write test/attestation/contract/CLASS-fixture.ts, or name another file with --fixture; attestation/README.md says what it exports.',
  },
});

export const conformanceRefusals = defineRefusals('unacceptable', {
  'conformance-failed': {
    means: 'A device class does not keep the contract of device classes.',
    hint: 'The rows marked FAIL say what was expected and what was found; docs/spec/device-class.md has the rules.',
  },
});
