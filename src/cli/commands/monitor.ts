import { setTimeout as delay } from 'node:timers/promises';

import { Option, type Command } from 'commander';

import { toHex } from '../../../attestation/core/bytes.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';
import type { AlarmKind, MonitorAlarm } from '../../audit/monitor-alarms.ts';
import { Monitor } from '../../audit/monitor.ts';
import type { LogTrust } from '../../log/checkpoint.ts';
import { systemClock } from '../../platform/clock.ts';
import { collectDigests, collectIdentifiers, parsePositiveInteger } from '../arguments.ts';
import { isoTime } from '../audit-report.ts';
import { withInterruption } from '../interruption.ts';
import { logTrustOf } from '../log-copy.ts';
import { addLogSourceOptions, withLogSource, type LogSourceOptions } from '../log-source.ts';
import { print, remark } from '../options.ts';
import { readWitnessing, witnessPolicyOption } from '../witness-policy.ts';

export const monitorRefusals = defineRefusals('unacceptable', {
  'monitor-alarm': {
    means: 'A look at a release log has raised alarms.',
    hint: 'Read the alarms on standard output, one on a line. What contradicts the log is kept as evidence in the folder.',
  },
});

interface MonitorOptions extends LogSourceOptions {
  readonly state: string;
  readonly watchModel?: readonly string[];
  readonly watchLab?: readonly string[];
  readonly witnessPolicy: string;
  readonly maxAge: number;
  readonly every?: number;
}

/** More than the hour in which a server lets itself be heard. */
const DEFAULT_MAX_AGE_SECONDS = 7200;

function alarmLine({ at, ...alarm }: MonitorAlarm, trust: LogTrust, now: number): string {
  const times = { seenAt: isoTime(now), ...(at === undefined ? {} : { at: isoTime(at) }) };
  return JSON.stringify({ ...alarm, origin: trust.origin, ...times });
}

/** @returns what was raised */
async function lookOnce(
  monitor: Monitor,
  options: MonitorOptions,
  trust: LogTrust,
): Promise<readonly AlarmKind[]> {
  const now = systemClock.posixSeconds();
  const raised = new Map<AlarmKind, number>();
  await withLogSource(options, trust, (source) =>
    monitor.look(source, now, (alarm) => {
      raised.set(alarm.alarm, (raised.get(alarm.alarm) ?? 0) + 1);
      print(alarmLine(alarm, trust, now));
    }),
  );
  const { checkpoint } = monitor;
  const upTo =
    checkpoint === undefined ? 'nothing' : `${checkpoint.size} entries under root ${toHex(checkpoint.root)}`;
  const alarms = [...raised].map(([kind, count]) => `${count} ${kind}`).join(', ');
  remark(`${isoTime(now)}: ${upTo} of ${trust.origin} verified; ${alarms === '' ? 'no alarm' : alarms}`);
  return [...raised.keys()];
}

async function monitorLog(options: MonitorOptions): Promise<void> {
  const trust = await logTrustOf(options.profile);
  const monitor = await Monitor.open(options.state, trust, {
    watched: { models: options.watchModel ?? [], labs: options.watchLab ?? [] },
    witnesses: await readWitnessing(options.witnessPolicy, trust.keys),
    maxAgeSeconds: options.maxAge,
  });
  const { every } = options;
  if (every !== undefined) {
    await withInterruption(async (signal) => {
      for (;;) {
        await lookOnce(monitor, options, trust);
        await delay(every * 1000, undefined, { signal });
      }
    });
    return;
  }
  const raised = await lookOnce(monitor, options, trust);
  if (raised.length === 0) return;
  throw monitorRefusals.error('monitor-alarm', {
    field: trust.origin,
    expected: 'no alarm',
    found: raised.join(', '),
  });
}

/** `weightgate monitor`: looks at what is new in a log, once or again and again. */
export function registerMonitor(program: Command): void {
  const command = program
    .command('monitor')
    .description('watch a release log: one JSON line for each alarm, and exit code 1 where there is one');
  addLogSourceOptions(command)
    .requiredOption('--state <dir>', "the monitor's own copy of the log, with what it has seen")
    .addOption(
      new Option('--watch-model <digest>', 'raise an alarm when its key is granted; several times').argParser(
        collectDigests,
      ),
    )
    .addOption(
      new Option('--watch-lab <lab>', 'raise an alarm when it is granted a key; several times').argParser(
        collectIdentifiers,
      ),
    )
    .addOption(witnessPolicyOption())
    .addOption(
      new Option(
        '--max-age <seconds>',
        'how old the newest cosignatures, or without witnesses entries, may be',
      )
        .argParser(parsePositiveInteger)
        .default(DEFAULT_MAX_AGE_SECONDS),
    )
    .addOption(
      new Option('--every <seconds>', 'look again and again, until interrupted; once otherwise').argParser(
        parsePositiveInteger,
      ),
    )
    .action(monitorLog);
}
