import type { Command } from 'commander';

import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { readExportedRange } from '../../audit/export-source.ts';
import { writeExport } from '../../audit/export-writer.ts';
import { fetchNewest } from '../../audit/newest.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from '../../log/checkpoint.ts';
import { readFileStart } from '../../platform/files.ts';
import { logTrustOf } from '../log-copy.ts';
import { addLogSourceOptions, withLogSource, type LogSourceOptions } from '../log-source.ts';
import { print } from '../options.ts';

interface ExportOptions extends LogSourceOptions {
  readonly out: string;
  readonly after?: string;
}

const MAX_NOTE_BYTES = 1 << 20;

/** An export begins with the brace of its header; the first line of a checkpoint is an origin, which has none. */
async function checkpointIn(path: string, trust: LogTrust): Promise<VerifiedCheckpoint> {
  const start = await readFileStart(path, MAX_NOTE_BYTES);
  if (start[0] === '{'.codePointAt(0)) return (await readExportedRange(path, trust)).checkpoint;
  return await openCheckpoint(fromUtf8(start, path), trust);
}

async function exportLog(options: ExportOptions): Promise<void> {
  const trust = await logTrustOf(options.profile);
  const previous = options.after === undefined ? undefined : await checkpointIn(options.after, trust);
  const { size } = await withLogSource(options, trust, async (place) => {
    const newest = await fetchNewest(place, trust);
    await writeExport(options.out, newest, trust, previous);
    return newest.checkpoint;
  });
  print(`${options.out}: entries ${previous?.size ?? 0n} to ${size - 1n} of ${trust.origin}, verified`);
}

/** `weightgate audit export`: a part of the log as one file that verifies offline. */
export function registerAuditExport(audit: Command): void {
  const command = audit
    .command('export')
    .description(
      'verify the release log and write it to one file, for audit verify --export without a network',
    );
  addLogSourceOptions(command)
    .requiredOption('--out <file>', 'the new file')
    .option('--after <file>', 'go on after an earlier export, or after a checkpoint that was kept')
    .action(exportLog);
}
