"""What an integrator needs to know of a device, and the settings it is fastest with."""
