/** Logs what became of the wrapping keys: found out here, or by commands that ran while no server did (KC-90). */

import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Logger } from '../platform/logging.ts';
import { observeCurrent } from '../keys/custody-maintenance.ts';
import { readCustodyEvents, type CustodyEvent } from '../keys/custody-events.ts';
import type { ServerKeys } from './home.ts';
import type { GovernanceLog } from './governance-log.ts';
import { homeRefusals } from './refusals.ts';

/**
 * Brings the log up to what the key store knows.
 *
 * @throws RefusalError `home-custody-behind` when the log knows of more, `server-stopped`, `server-busy`,
 *   `governance-custody`, and those of the custody
 */
export async function logCustodyEvents(
  { modelKeys, custodies }: Pick<ServerKeys, 'modelKeys' | 'custodies'>,
  governance: GovernanceLog,
): Promise<void> {
  const { database } = modelKeys;
  await custodies.reload();
  await observeCurrent({ database, custodies });
  const events = readCustodyEvents(database);
  if (events.length < governance.state.custody.events) {
    throw homeRefusals.error('home-custody-behind', {
      field: 'custodyEvents',
      expected: `at least ${governance.state.custody.events}, as in the log (KC-91)`,
      found: String(events.length),
    });
  }
  for (;;) {
    // Read anew each time: what is recorded counts in the state at once, also for another call of this.
    const event = events[governance.state.custody.events];
    if (event === undefined) return;
    await logCustodyEvent(event, governance);
  }
}

async function logCustodyEvent(
  { event, custody, provider, wrappingKeys }: CustodyEvent,
  governance: GovernanceLog,
): Promise<void> {
  const sequence = governance.state.custody.events;
  try {
    await governance.record((_state, at) => {
      const named = { event, custody, provider, wrappingKeys: [...wrappingKeys] };
      return { version: 1, type: 'custody', at, sequence, ...named };
    });
  } catch (error) {
    // Of several servers that find an event one is the first to log it; the rules refuse it of the others.
    const isLogged = governance.isShared && governance.state.custody.events > sequence;
    if (!isLogged || !isRefusal(error) || error.refusal.code !== 'governance-custody') throw error;
  }
}

/** How often the custody is asked whether a command, or somebody at the custody itself, has changed it. */
const WATCH_MILLISECONDS = 30_000;

export interface CustodyWatch {
  /** Ends when what runs has ended. */
  stop(): Promise<void>;
}

/** Logs changes while a server runs. A custody that does not answer is asked again next time. */
export function watchCustody(
  keys: Pick<ServerKeys, 'modelKeys' | 'custodies'>,
  governance: GovernanceLog,
  logger: Logger,
): CustodyWatch {
  let running = Promise.resolve();
  const look = async (): Promise<void> => {
    const before = governance.state.custody.events;
    try {
      await logCustodyEvents(keys, governance);
    } catch (error) {
      logger.error({ reason: String(error) }, 'the custody of model keys could not be looked at');
    }
    const events = governance.state.custody.events - before;
    if (events > 0) logger.info({ events }, 'changes of the custody of model keys were logged');
  };
  const timer = setInterval(() => {
    running = running.then(look);
  }, WATCH_MILLISECONDS);
  return {
    stop: async () => {
      clearInterval(timer);
      await running;
    },
  };
}
