import type { Agent } from '@openservice/agent';
import type { NodeReply, NodeRequest } from '@openservice/runtime';

/** The center has these events: they leave the outbox. */
export async function have(agent: Agent, request: NodeRequest<'have'>): Promise<NodeReply<'have'>> {
  agent.have(request.events);
  return {};
}
