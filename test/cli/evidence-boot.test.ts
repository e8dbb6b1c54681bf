/** What `weightgate evidence inspect` tells of the boot event log in the evidence of a TPM (CL-13, CL-25). */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeEvidence } from '../../attestation/core/evidence.ts';
import { EventType } from '../../attestation/tpm/event-log/event-types.ts';
import { evidenceFacts } from '../../src/cli/evidence-facts.ts';
import { separator, writeEventLog } from '../support/event-log-writer.ts';
import { makeSoftwareAttester } from '../support/software-attester.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

interface Shown {
  readonly devices: readonly { readonly evidence: { readonly eventLog: unknown } }[];
}

/** What is shown of the log of a machine that sent this one. */
async function shownLog(log: Uint8Array): Promise<unknown> {
  const attester = await makeSoftwareAttester();
  const evidence = await attester.evidence(attester.quote({}));
  const path = join(await temporaryFolder(), 'bundle.json');
  const withLog = { ...(evidence as object), eventLog: toBase64(log) };
  await writeFile(path, encodeEvidence([{ class: 'tpm', evidence: withLog }]));
  const facts = (await evidenceFacts({ bundle: path, cert: [], chain: [] })) as Shown;
  return facts.devices[0]?.evidence.eventLog;
}

describe('evidence inspect', () => {
  it('CL-13, CL-25: tells the boot by phases, with what digests cover', async () => {
    const log = writeEventLog([
      { pcr: 4, type: EventType.efiAction, data: toUtf8('Calling EFI Application from Boot Option') },
      separator(4),
      { pcr: 8, type: EventType.ipl, data: toUtf8('kernel_cmdline: quiet'), digest: new Uint8Array(32) },
    ]);
    expect(await shownLog(log)).toMatchObject({
      format: 'crypto-agile',
      bank: 'sha256',
      phases: [
        [
          'firmware: 2 records, 2 covered by their digests',
          expect.stringContaining('Calling EFI Application'),
          expect.stringContaining('EV_SEPARATOR'),
        ],
        ['boot option: 1 records, 0 covered by their digests', expect.stringContaining('untrusted')],
      ],
    });
  });

  it('CL-25: says why it shows nothing of a log that cannot be read', async () => {
    expect(await shownLog(toUtf8('no log'))).toEqual({
      unreadable: expect.stringContaining('layout-truncated') as string,
    });
  });
});
