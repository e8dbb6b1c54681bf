import { afterEach, describe, expect, it, vi } from 'vitest';

import { openTpm } from '../../../native/tpm/open.ts';
import { tpmMachineRefusals } from '../../../native/tpm/refusals.ts';
import { TctiTransport } from '../../../native/tpm/tctildr.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing } from '../../support/swtpm.ts';

function withoutStack(): void {
  const facts = { field: 'library', expected: 'the TPM stack', found: 'none' };
  vi.spyOn(TctiTransport, 'open').mockRejectedValue(tpmMachineRefusals.error('tpm-library-missing', facts));
}

describe('a machine without the TPM stack', () => {
  afterEach(() => vi.restoreAllMocks());

  it.skipIf(swtpmMissing !== undefined)('TA-2: reaches a simulator over a plain socket', async () => {
    const simulator = await startTestTpm();
    withoutStack();
    const tpm = await openTpm(simulator.tpm.address);
    const response = await tpm.transmit(Uint8Array.of(0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7b, 0, 8));
    await tpm.close();
    await simulator.remove();
    expect(response).toHaveLength(20);
    expect(await refusalCodeAsync(() => openTpm(tpm.address, { through: 'stack' }))).toBe(
      'tpm-library-missing',
    );
  });

  it.each(['device:/dev/tpmrm0', 'tabrmd:'])('TA-2: refuses %s', async (address) => {
    withoutStack();
    expect(await refusalCodeAsync(() => openTpm(address))).toBe('tpm-library-missing');
  });
});
