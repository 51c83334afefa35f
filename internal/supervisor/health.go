package supervisor

func (c *session) waitHealthy() {}
