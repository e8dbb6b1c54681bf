/** Where a command reads a log from: its server, a copy in a folder, a mirror, or exports. Nothing of it is trusted. */

import { Option, type Command } from 'commander';

import { openExports } from '../audit/export-source.ts';
import { openMirror } from '../audit/mirror-source.ts';
import { serverSource } from '../audit/server-source.ts';
import type { LogTrust } from '../log/checkpoint.ts';
import type { LogSource } from '../log/reader.ts';
import { collect } from './arguments.ts';
import { withLogCopy } from './log-copy.ts';
import { profileOption, withServer } from './options.ts';

/** At most one place; the server of the profile where there is none. */
export interface LogSourceOptions {
  /** Pins origin and key of the log, wherever it is read from. */
  readonly profile: string;
  readonly folder?: string;
  readonly url?: string;
  readonly export?: readonly string[];
}

/** Adds `--profile` and the options that name a place. */
export function addLogSourceOptions(command: Command): Command {
  return command
    .addOption(profileOption())
    .addOption(
      new Option(
        '--folder <dir>',
        'read a copy in place of the server: static files of a mirror, a log folder, a server home',
      ).conflicts(['url', 'export']),
    )
    .addOption(
      new Option(
        '--url <address>',
        'read a mirror in place of the server: the folder that holds `checkpoint`',
      ).conflicts(['export']),
    )
    .addOption(
      new Option(
        '--export <file>',
        'read what audit export wrote; several times, from the first entry on',
      ).argParser(collect),
    );
}

/** @throws RefusalError of the place, and what `work` throws */
export async function withLogSource<T>(
  options: LogSourceOptions,
  trust: LogTrust,
  work: (source: LogSource) => Promise<T>,
): Promise<T> {
  if (options.folder !== undefined) return await withLogCopy(options.folder, trust, work);
  if (options.export !== undefined) return await work(await openExports(options.export, trust));
  if (options.url === undefined) {
    return await withServer(options.profile, (client) => work(serverSource(client)));
  }
  const mirror = openMirror(options.url);
  try {
    return await work(mirror.source);
  } finally {
    mirror.close();
  }
}
