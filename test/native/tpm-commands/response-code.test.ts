import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { describeResponseCode } from '../../../native/tpm-commands/response-code.ts';

describe('the name of a response code', () => {
  it.each([
    [0x100, 'TPM_RC_INITIALIZE (0x100)'],
    [0x101, 'TPM_RC_FAILURE (0x101)'],
    [0x14a, 'TPM_RC_NV_UNINITIALIZED (0x14a)'],
    [0x18b, 'TPM_RC_HANDLE, handle 1 (0x18b)'],
    [0x08b, 'TPM_RC_HANDLE (0x8b)'],
    [0x2c4, 'TPM_RC_VALUE, parameter 2 (0x2c4)'],
    [0x98e, 'TPM_RC_AUTH_FAIL, session 1 (0x98e)'],
    [0x99d, 'TPM_RC_POLICY_FAIL, session 1 (0x99d)'],
    [0x902, 'TPM_RC_OBJECT_MEMORY (0x902)'],
    [0x910, 'TPM_RC_REFERENCE_H0 (0x910)'],
    [0x91e, 'TPM_RC_REFERENCE_S6 (0x91e)'],
    [0x922, 'TPM_RC_RETRY (0x922)'],
    [0x501, 'a response code of the vendor (0x501)'],
    [0x01e, 'a TPM 1.2 response code (0x1e)'],
    [0xb0143, 'TPM_RC_COMMAND_CODE, from the resource manager (0xb0143)'],
  ])('TA-9: of 0x%s', (code, text) => {
    expect(describeResponseCode(code)).toBe(text);
  });

  it('TA-9: exists for every number', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (code) => {
        expect(describeResponseCode(code)).toMatch(/^[ -~]+ \(0x[0-9a-f]+\)$/);
      }),
    );
  });
});
