import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { MAX_LOG_BYTES } from '../../../attestation/tpm/evidence.ts';
import { readEventLogOf, readImaListOf } from '../../../src/agent/tpm/measurement-logs.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

async function logFiles() {
  const folder = await temporaryFolder();
  return { eventLog: join(folder, 'binary_bios_measurements'), imaList: join(folder, 'runtime') };
}

describe('logs of the kernel', () => {
  it('BC-3: are read whole', async () => {
    const files = await logFiles();
    await writeFile(files.eventLog, 'events');
    await writeFile(files.imaList, 'x'.repeat(MAX_LOG_BYTES.imaList));
    expect(await readEventLogOf(files)).toEqual(new TextEncoder().encode('events'));
    expect(await readImaListOf(files)).toHaveLength(MAX_LOG_BYTES.imaList);
  });

  it('BC-3: a file that states no size, as those of securityfs, is read to its end', async () => {
    const read = await readEventLogOf({ eventLog: '/proc/self/status', imaList: '' });
    expect(new TextDecoder().decode(read)).toMatch(/^Name:[^]*\n$/);
  });

  it('BC-3: a log that is missing, empty or no file is refused', async () => {
    const files = await logFiles();
    expect(await refusalCodeAsync(() => readEventLogOf(files))).toBe('tpm-event-log-missing');
    expect(await refusalCodeAsync(() => readImaListOf(files))).toBe('tpm-ima-list-missing');
    await writeFile(files.eventLog, '');
    expect(await refusalCodeAsync(() => readEventLogOf(files))).toBe('tpm-event-log-missing');
    const folder = await temporaryFolder();
    const read = () => readEventLogOf({ ...files, eventLog: folder });
    expect(await refusalCodeAsync(read)).toBe('tpm-event-log-missing');
  });

  it('BC-1, BC-3: a log that is larger than evidence may carry is refused', async () => {
    const files = await logFiles();
    for (const file of [files.eventLog, files.imaList]) await writeFile(file, 'x');
    await truncate(files.eventLog, MAX_LOG_BYTES.eventLog + 1);
    await truncate(files.imaList, MAX_LOG_BYTES.imaList + 1);
    expect(await refusalCodeAsync(() => readEventLogOf(files))).toBe('tpm-log-too-large');
    expect(await refusalCodeAsync(() => readImaListOf(files))).toBe('tpm-log-too-large');
  });
});
